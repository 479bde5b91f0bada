"""Where weights of foundation models lie: on the hub, in a folder, or in a file of one.

Only `.safetensors` and JSON are ever fetched or read: neither can hold code.
"""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mal_core.config.labelers import FOUNDATIONS, LabelerConfig, MemberConfig, called
from mal_core.errors import CheckpointError, ConfigError
from mal_core.processes.files import sha256_file, sha256_json

EXTRA = "pip install 'mal-pipeline[sam]'"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
READ = (
    CONFIG,
    "preprocessor_config.json",
    "processor_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
)
"""Patterns of the files that a model is made of."""
TOKENIZER = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json")
"""What a detector reads besides, all of it text."""
FAMILIES = {
    "sam": ("sam",),
    "sam2": ("sam2", "sam2_video"),
    "sam3": ("sam3_tracker", "sam3_tracker_video", "sam3_video"),
    "hq_sam": ("sam_hq",),
}
"""`model_type` of the weights that each labeler takes."""


def require_package(config: MemberConfig) -> None:
    """Refuse a labeler whose package is not installed.

    Raises:
        ConfigError: The message says what to install.
    """
    if config.name in FOUNDATIONS:
        require_transformers(config.asked, " Without it: grabcut, ellipse or box.")


def require_transformers(asked: str, hint: str = "") -> None:
    """Refuse what needs transformers where it is not installed.

    Raises:
        ConfigError: The message says what to install.
    """
    if importlib.util.find_spec("transformers") is None:
        message = f"{asked} needs the package transformers: {EXTRA}.{hint}"
        raise ConfigError(message)


def find_weights(config: MemberConfig) -> Path:
    """The folder with the weights of a foundation model; fetches them from the hub.

    Raises:
        ConfigError: There are none of that name, or they are of another model.
        CheckpointError: The folder lacks a file, or holds only files that can run code.
    """
    key, wanted = f"{config.key}.weights=", FAMILIES[config.name]
    folder = _folder_of(str(config.weights), key)
    kind = _require_complete(folder, key)
    if kind not in wanted:
        setting = config.asked.partition("=")[0]
        fits = [name for name, kinds in FAMILIES.items() if kind in kinds]
        hint = f"; {setting}={fits[0]} takes it" if fits else ""
        message = (
            f"{key}{folder} holds a model of type {kind!r}, {config.asked} takes "
            f"{' or '.join(wanted)}{hint}."
        )
        raise ConfigError(message)
    _require_readable(folder)
    return folder


def find_detector(given: str, kinds: Sequence[str]) -> Path:
    """The folder with the weights and the tokenizer of a detector; fetches them from the hub.

    Args:
        given: A name on the hub, a folder, or its file of weights.
        kinds: `model_type` of the detectors that are wanted.

    Raises:
        ConfigError: There are none of that name, or they are of another model.
        CheckpointError: The folder lacks a file, or holds only files that can run code.
    """
    folder = _folder_of(given, "--weights ", [*READ, *TOKENIZER])
    kind = _require_complete(folder, "--weights ")
    if kind not in kinds:
        message = (
            f"--weights {folder} holds a model of type {kind!r}; wanted a detector that words can "
            f"ask: {', '.join(kinds)}."
        )
        raise ConfigError(message)
    _require_readable(folder)
    return folder


def _folder_of(given: str, key: str, patterns: Sequence[str] = READ) -> Path:
    path = Path(given).expanduser()
    if path.is_file():
        path = path.absolute().parent
        if Path(given).name != WEIGHTS:
            message = (
                f"{key}{given}: wanted a folder, or a file called {WEIGHTS} with "
                f"{CONFIG} beside it. Make a folder of its own and name it so."
            )
            raise CheckpointError(message)
    return path.absolute() if path.is_dir() else _fetched(given, key, patterns)


def with_local_weights(config: LabelerConfig) -> tuple[LabelerConfig, str | None]:
    """Settings whose weights lie in folders here, and a digest of these folders' contents.

    Raises:
        ConfigError: The package or the weights are not there.
        CheckpointError: The weights are not complete.
    """
    found = [_local(one) for one in config.drawn_by]
    digests = [digest for _, digest in found]
    if not any(digests):
        return config, None
    if not config.members:
        return replace(config, weights=found[0][0].weights), digests[0]
    members, leader = tuple(one for one, _ in found), config.leader
    if leader is not None:  # who is called by weights is called by those of here now
        leader = called(members)[called(config.members).index(leader)]
    return replace(config, members=members, leader=leader), sha256_json(digests)


def _local(config: MemberConfig) -> tuple[MemberConfig, str | None]:
    if config.name not in FOUNDATIONS:
        return config, None
    require_package(config)
    folder = find_weights(config)
    content = {path.name: sha256_file(path) for path in weight_files(folder)}
    return replace(config, weights=str(folder)), sha256_json(content)


def weights_name(folder: str) -> str:
    """What a report calls weights: the hub's name of what lies in its cache, else the folder's."""
    for part in Path(folder).parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/")
    return Path(folder).name


def weight_files(folder: Path) -> list[Path]:
    """The files that a model is made of, in order."""
    return sorted({path for pattern in READ for path in folder.glob(pattern)})


def _fetched(name: str, key: str, patterns: Sequence[str]) -> Path:
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith("/"):
        message = f"{key}{name}: no such folder or file, and no name on the hub."
        raise ConfigError(message)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    from mal_core.models.hub import hub_or_cache, out_of_reach

    try:
        with hub_or_cache():
            return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except LocalEntryNotFoundError as error:
        message = f"{key}{name}: no folder here; {out_of_reach(name)}."
        raise ConfigError(message) from error
    except (OSError, ValueError) as error:  # also what the hub answers and a lost connection
        reason = " ".join(str(error).split())
        message = f"{key}{name}: neither a folder here nor to be had from the hub: {reason}"
        raise ConfigError(message) from error


def _require_complete(folder: Path, key: str) -> object:
    """Refuse a folder without weights that can be read; gives its `model_type`."""
    description = folder / CONFIG
    if not description.is_file():
        message = f"{key}{folder} lacks {CONFIG}, which says what model it is."
        raise CheckpointError(message)
    try:
        kind = json.loads(description.read_text()).get("model_type")
    except (ValueError, AttributeError) as error:
        message = f"{description} is no description of a model: {error}."
        raise CheckpointError(message) from error
    if not any(folder.glob("*.safetensors")):
        message = (
            f"{key}{folder} has no {WEIGHTS}; other files of weights can run code and are not read."
        )
        raise CheckpointError(message)
    return kind


def _require_readable(folder: Path) -> None:
    """Refuse files of tensors that lost their end or are something else; reads heads only."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as tensors:
                tensors.keys()
        except (SafetensorError, OSError) as error:
            message = (
                f"{path} is no readable file of weights: it is damaged, not downloaded to its end, "
                f"or of another kind ({' '.join(str(error).split())}). Download it again."
            )
            raise CheckpointError(message) from error
