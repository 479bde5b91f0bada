"""Our Docker Compose files, merged as far as tests need it."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
MAIN, SCALE = "docker-compose.yml", "docker-compose.scale.yml"


class ComposeLoader(yaml.SafeLoader):
    """YAML with the one tag of Docker Compose that we use."""


ComposeLoader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node))


def read(name: str) -> dict[str, Any]:
    """One file as it stands."""
    return yaml.load((ROOT / name).read_text(), ComposeLoader)


def scaled() -> dict[str, Any]:
    """Services of both files together; mappings are merged, everything else replaced."""
    return _merge(read(MAIN), read(SCALE))["services"]


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merge(base[key], value)
        for key, value in over.items()
        if isinstance(base.get(key), dict) and isinstance(value, dict)
    }
    return {**base, **over, **both}
