"""EfficientNet-Lite's names in its own packages -> timm's."""

import re
from collections.abc import Iterable

STEM = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
"""The first block widens nothing: it has one convolution less."""
BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def blocks_of(names: Iterable[str]) -> list[str]:
    """Timm's blocks in their order, such as blocks.1.0: the packages count them through."""
    found = (re.match(r"blocks\.\d+\.\d+", name) for name in names)
    return list(dict.fromkeys(match[0] for match in found if match))


def timm_name(name: str, blocks: list[str]) -> str:
    """A tensor's name in timm; names of other origin stay as they are."""
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if match is None or int(match[1]) >= len(blocks):
        part, dot, rest = name.partition(".")
        return f"{STEM.get(part, part)}{dot}{rest}"
    parts = FIRST_BLOCK if match[1] == "0" else BLOCK
    return f"{blocks[int(match[1])]}.{parts.get(match[2], match[2])}.{match[3]}"
