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
PRETRAINED_MODELS = "mmpretrain.models"
LANGUAGE_MODELS = "transformers"
MACHINERY = ("importlib.", "_frozen_importlib")
WITHOUT_THEM = ("mmdet", "mmengine", "mmpretrain")
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


class NoLanguageModels:
    """First on the path of what trains segmenters: mmdet finds no transformers.

    It imports it, a fifth of its start, for detectors that read text and predict no masks, and
    does without where it is absent. So does mmpretrain, which looks for it once, before the
    import of its models. Others import it as ever.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Refuse one package to some importers.

        Raises:
            ModuleNotFoundError: mmdet or a package that it builds on asks for transformers.
        """
        if name == PRETRAINED_MODELS:
            from mmpretrain.utils import dependency

            dependency.WITH_MULTIMODAL = False
        if name == LANGUAGE_MODELS and _importing_package() in WITHOUT_THEM:
            raise ModuleNotFoundError(f"{name} is left out of {WITHOUT_THEM}", name=name)
        return None


def _importing_package() -> str:
    """Who imports: the first caller that is not the machinery of imports."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(MACHINERY):
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def leave_out_language_models() -> None:
    """Register the finder once, before the others."""
    if NoLanguageModels not in sys.meta_path:
        sys.meta_path.insert(0, NoLanguageModels)  # type: ignore[arg-type]


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
