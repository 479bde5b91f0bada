"""mmdet configs as users give them: read, and what mmdet says of them as one sentence."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mal_core.config import SegmenterConfig
from mal_core.errors import ConfigError, MalCoreError, lacks_memory
from mal_core.jobs.segmenter import resolve_config
from phase2_configs.runner import recipe as edits

RECIPES = Path(__file__).resolve().parents[1]
SHOWN_CHARACTERS = 600


@contextlib.contextmanager
def users_config(recipe: SegmenterConfig) -> Iterator[None]:
    """Turn what mmdet says of a config of the user's into a sentence that names the setting.

    A config is Python that runs, so anything may be raised. A recipe of this project that
    nobody has changed must not fail: its error is a bug and keeps its traceback.

    Raises:
        ConfigError: Reading or building from the config failed.
    """
    own = Path(resolve_config(recipe.config)).is_relative_to(RECIPES)
    try:
        yield
    except (MalCoreError, OSError):
        raise
    except Exception as error:
        if lacks_memory(error) or (own and not recipe.options):
            raise
        named = f"segmenter.config={recipe.config}"
        if recipe.options:
            named = f"segmenter.options={recipe.options}" if own else f"{named} with its options"
        message = f"{named}: mmdet refuses it: {type(error).__name__}: {_last_words(error)}"
        raise ConfigError(message) from error


def _last_words(error: Exception) -> str:
    text = " ".join(str(error).split())
    line = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
    return (text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...") + line


def read_config(config: Path) -> dict[str, Any]:
    """An mmdet config as plain data.

    Raises:
        ConfigError: It lacks what a training or a prediction is made of.
    """
    location = resolve_config(config)
    if "::" in location:
        from mmengine.hub import get_config

        return get_config(location).to_dict()
    found = Config.fromfile(location).to_dict()
    absent = [key for key in edits.NEEDED if found.get(key) is None]
    if absent:
        message = (
            f"segmenter.config={config} lacks {', '.join(absent)}: wanted a whole mmdet config."
        )
        raise ConfigError(message)
    return found
