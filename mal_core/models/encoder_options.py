"""timm's builder without memory or weights: which options suit a model, and which do not."""

import difflib
import inspect
import reprlib
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import nn

from mal_core.errors import ConfigError

SHOWN_OPTIONS, SHOWN_CHARACTERS = 3, 200
DROP_PATH = "drop_path_rate"
OWN_KEYS = {
    "model_name": "the model is encoder.name",
    "num_classes": "an encoder has no classifier",
    "features_only": "maps are chosen by their strides",
}
"""Arguments of the builder that are not the user's, and why."""
WRONG_VALUE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What timm's models raise at numbers that do not suit them."""


def sketch(name: str, options: Mapping[str, Any]) -> nn.Module:
    """A model with options, on the meta device: shapes, and no numbers.

    Args:
        name: One that timm knows.
        options: Of the user, as `encoder.options`.

    Raises:
        ConfigError: It names the option that does not suit the model, and close ones.
    """
    for key in options:
        if key in OWN_KEYS:
            message = f"encoder.options.{key} is not possible: {OWN_KEYS[key]}."
            raise ConfigError(message)
    try:
        return _built(name, options)
    except WRONG_VALUE as error:
        raise ConfigError(_told(name, options, error)) from error


def drop_path_arguments(name: str, options: Mapping[str, Any], rate: float) -> dict[str, float]:
    """How the builder is told the rate of dropped paths; nothing where it has none to drop.

    Args:
        name, options: As for `sketch`.
        rate: 0 drops none.

    Raises:
        ConfigError: A rate is wanted of a model without paths to drop.
    """
    arguments = {DROP_PATH: rate}
    try:
        _built(name, {**options, **arguments})
    except TypeError as error:
        if DROP_PATH not in str(error):
            raise
        if rate:
            message = f"encoder.drop_path={rate}: {name!r} has no paths to drop. Leave it at 0."
            raise ConfigError(message) from error
        return {}
    return arguments


def _built(name: str, options: Mapping[str, Any]) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = timm.create_model(name, num_classes=0, **options)
    return model


def _told(name: str, options: Mapping[str, Any], error: Exception) -> str:
    """Which option is at fault, in words."""
    known = _known_options(name)
    for key, value in options.items():
        rest = {other: kept for other, kept in options.items() if other != key}
        if key not in known and f"'{key}'" in str(error):
            close = difflib.get_close_matches(key, known, n=SHOWN_OPTIONS, cutoff=0.6)
            hint = "closest" if close else "it has"
            return (
                f"encoder.options.{key}: {name!r} has no option of that name; {hint}: "
                f"{', '.join(close or known)}."
            )
        if _suits(name, rest):
            beside = " beside its other options" if rest else ""
            return (
                f"encoder.options.{key}={reprlib.repr(value)} does not suit {name!r}{beside} "
                f"({_cut(error)})."
            )
    return f"encoder.options={reprlib.repr(dict(options))} do not suit {name!r} ({_cut(error)})."


def _cut(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.removesuffix(".")[:SHOWN_CHARACTERS]


def _suits(name: str, options: Mapping[str, Any]) -> bool:
    try:
        _built(name, options)
    except WRONG_VALUE:
        return False
    return True


def _known_options(name: str) -> list[str]:
    """Names of arguments of the model's class that are no setting of ours, in its order."""
    parameters = inspect.signature(type(_built(name, {})).__init__).parameters
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        key
        for key, value in parameters.items()
        if value.kind in kinds and key not in OWN_KEYS and key != "self"
    ]
