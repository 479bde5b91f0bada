"""The networks of phase 1."""

from mal_core.models.labeler import MaskAutoLabeler, MaskNetwork, build_labeler

__all__ = ["MaskAutoLabeler", "MaskNetwork", "build_labeler"]
