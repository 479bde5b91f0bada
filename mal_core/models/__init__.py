"""The networks of phase 1."""

from mal_core.models.labeler import MaskAutoLabeler, MaskNetwork, build_labeler
from mal_core.models.official import load_official_checkpoint

__all__ = ["MaskAutoLabeler", "MaskNetwork", "build_labeler", "load_official_checkpoint"]
