"""Lets mmdet import where mmcv came without compiled ops, or beside a transformers too new for it.

Imported at the start of every interpreter of the environment (a .pth file written by
`make setup`), which is what lets unmodified mmdet tools run; so it imports nothing heavy.
"""

import sys
from importlib import metadata
from importlib.machinery import ModuleSpec
from types import ModuleType

EXTENSION = "mmcv._ext"
MULTIMODAL = "mmpretrain.models.multimodal"
FIRST_TRANSFORMERS_WITHOUT_IT = 5


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
        from phase2_configs.mmcv_compat.mmcv_ops import OpsModule

        return OpsModule(spec.name)

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Nothing is left to run: the module is complete when created."""


class MultimodalFinder:
    """First on the path: mmpretrain's language models, which no segmenter uses, stay out.

    Their import ends with a TypeError beside transformers 5 and later, and with it that of
    mmdet, which imports all of mmpretrain.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Answer for that one package, where it could not be imported."""
        if name != MULTIMODAL or _transformers_version() < FIRST_TRANSFORMERS_WITHOUT_IT:
            return None
        return ModuleSpec(name, MultimodalFinder, origin="left out", is_package=True)

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType | None:
        """Python's own empty module."""
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """It stays empty."""


def _transformers_version() -> int:
    try:
        return int(metadata.version("transformers").split(".")[0])
    except (metadata.PackageNotFoundError, ValueError):
        return 0


def install() -> None:
    """Register the finders once; harmless where mmcv is compiled or absent."""
    if TorchvisionOpsFinder not in sys.meta_path:
        sys.meta_path.append(TorchvisionOpsFinder)  # type: ignore[arg-type]
    if MultimodalFinder not in sys.meta_path:
        sys.meta_path.insert(0, MultimodalFinder)  # type: ignore[arg-type]
