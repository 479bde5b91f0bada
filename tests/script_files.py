"""The files of scripts/ as modules: they are no package, and run on a bare Python."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def load_script(name: str) -> ModuleType:
    """A module of its own, of the file `name`.py."""
    spec = importlib.util.spec_from_file_location(f"mal_{name}", SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its records look for their own annotations
    spec.loader.exec_module(module)
    return module
