"""Lets `import mmcv._ext` find torchvision's kernels where mmcv came without compiled ops.

Imported at the start of every interpreter of the environment (a .pth file written by
`make setup`), which is what lets unmodified mmdet tools run; so it imports nothing heavy.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

EXTENSION = "mmcv._ext"


class TorchvisionOpsFinder:
    """Last on the path: a compiled extension, where there is one, has already been found."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Answer for mmcv's extension module only."""
        if name != EXTENSION:
            return None
        return ModuleSpec(name, TorchvisionOpsFinder, origin="torchvision kernels")

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        """Build the stand-in; imports torch, so only when mmcv asks for its ops."""
        from phase2_configs.mmcv_ops import OpsModule

        return OpsModule(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Nothing is left to run: the module is complete when created."""


def install() -> None:
    """Register the finder once; harmless where mmcv is compiled or absent."""
    if TorchvisionOpsFinder not in sys.meta_path:
        sys.meta_path.append(TorchvisionOpsFinder)  # type: ignore[arg-type]
