"""Which encoders timm has, without importing it: that takes seconds and all of torch.

Every command checks its settings first, and most find everything in the store and need no
network at all.
"""

import difflib
import functools
import importlib.util
import re
from pathlib import Path

from mal_core.errors import ConfigError

DEFINITION = re.compile(r"^@register_model\n(?:[@#].*\n)*def (\w+)\(", re.MULTILINE)
SHOWN_NAMES = 5


@functools.cache
def defined_models() -> frozenset[str]:
    """Names of all models that timm's source files define; empty where it has none.

    What it registers in another way, such as its old names, is not among them.
    """
    found = importlib.util.find_spec("timm")
    if found is None or found.origin is None:
        return frozenset()
    files = (Path(found.origin).parent / "models").rglob("*.py")
    return frozenset(name for file in files for name in DEFINITION.findall(file.read_text()))


def check_encoder_name(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        ConfigError: Unknown name; the message lists similar ones.
    """
    architecture = name.split(".")[0]
    if architecture in defined_models():
        return
    import timm

    if timm.is_model(name):
        return
    similar = difflib.get_close_matches(architecture, timm.list_models(), n=SHOWN_NAMES, cutoff=0.4)
    message = (
        f"encoder.name={name!r} is no timm model; similar names: {', '.join(similar) or 'none'}."
    )
    raise ConfigError(message)
