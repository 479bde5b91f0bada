"""What `mal cache ls|why|rm|gc` do."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.settings.run_config import RunConfig
from flows.stages import session
from flows.store import contents, shared_contents
from flows.store.local import StageKey
from flows.store.shared import SharedStore, connect
from flows.store.stage_names import CHECK
from mal_core.errors import ConfigError

if TYPE_CHECKING:
    from flows.stages.graph import Job, Stage
    from flows.stages.run import Run

DEFAULT_DAYS = 30.0
SHARED = ("shared=true", "shared=false")
GRACE = (
    f"those of the last {24 * shared_contents.GRACE_DAYS:.0f} hours stay: "
    "they may belong to an upload at work"
)


def run_action(action: str, arguments: Sequence[str]) -> str:
    """Do one of ls, why, rm and gc.

    Args:
        action: Which.
        arguments: Settings for `ls` and `why`, names of outputs for `rm`, `days=N` and
            `dry_run=true` for `gc`; `store=DIR` for all; `shared=true` for the shared
            store in place of the local one, `shared_store=URL` to name it.

    Returns:
        What to print.

    Raises:
        ConfigError: An argument means nothing.
        ArtifactError: The shared store cannot be used.
    """
    if action == "why":
        return why(arguments)
    places = [text for text in arguments if text.startswith(("store=", "shared_store="))]
    with session.joined() as opened:
        config = opened.config(places)
    own = [text for text in arguments if text and text not in (*places, *SHARED)]
    wrong = [text for text in own if text.startswith("shared=")]
    if wrong:
        message = f"mal cache {action}: {wrong[0]!r} means nothing; wanted shared=true."
        raise ConfigError(message)
    if action == "rm" and not own:
        message = "mal cache rm: name what to remove, a stage or STAGE/KEY; see `mal cache ls`."
        raise ConfigError(message)
    if SHARED[0] in arguments:
        return _act_on_shared(action, own, _shared(config))
    return _act_on_local(action, own, config.store)


def _act_on_local(action: str, own: Sequence[str], root: Path) -> str:
    if action == "ls":
        found = contents.chosen(root, own) if own else contents.entries(root)
        return contents.listing(found)
    if action == "rm":
        return f"removed:\n{contents.listing(contents.remove(contents.chosen(root, own)))}"
    days, dry = _gc_options(own)
    found = contents.unused(root, days)
    if dry:
        return f"would be removed:\n{contents.listing(found)}"
    return f"removed:\n{contents.listing(contents.remove(found))}"


def _act_on_shared(action: str, own: Sequence[str], shared: SharedStore) -> str:
    if action == "ls":
        return _uploads(
            shared_contents.chosen(shared, own) if own else shared_contents.entries(shared)
        )
    if action == "rm":
        found = shared_contents.chosen(shared, own)
        shared_contents.remove(shared, found)
        return (
            f"removed:\n{_uploads(found)}\ntheir files go with `mal cache gc shared=true`, {GRACE}"
        )
    days, dry = _gc_options(own)
    found = shared_contents.old(shared, days)
    if dry:
        return f"would be removed:\n{_uploads(found)}"
    shared_contents.remove(shared, found)
    number, size = shared_contents.remove_orphans(shared)
    freed = f"{number} files that no output names, {contents.format_size(size)} ({GRACE})"
    return f"removed:\n{_uploads(found)}\n{freed}"


def _uploads(found: Sequence[contents.Entry]) -> str:
    return contents.listing(found, when="uploaded")


def _shared(config: RunConfig) -> SharedStore:
    if config.shared_store is None:
        message = "shared=true: there is no shared store. Give shared_store=URL."
        raise ConfigError(message)
    return connect(config.shared_store)


def _gc_options(arguments: Sequence[str]) -> tuple[float, bool]:
    days, dry = DEFAULT_DAYS, False
    for text in arguments:
        name, _, value = text.partition("=")
        if name == "dry_run" and value in ("true", "false"):
            dry = value == "true"
        elif name == "days" and value.replace(".", "", 1).isdigit():
            days = float(value)
        else:
            wanted = "days=NUMBER (0 or more), dry_run=true or shared=true"
            message = f"mal cache gc: {text!r} means nothing; wanted {wanted}."
            raise ConfigError(message)
    return days, dry


def why(overrides: Sequence[str]) -> str:
    """Which stages of a run are stored, and what makes the first others run."""
    from flows.stages import graph

    with session.joined() as opened:
        run = opened.run(overrides, graph.BY_NAME[CHECK].required, _looking)
    lines, blocked = [], False
    told: dict[str, str] = {}  # stages that would run, by their keys
    for stage, job in _jobs(run):
        try:
            job.ask()
        except contents.WouldRunError as would:
            blocked = True
            lines.append(f"{job.name}: would run")
            own = would.key.stage in (stage.name, stage.through)
            if own and told.setdefault(would.key.digest, job.name) == job.name:
                lines += _reasons(run, would.key)
            else:
                lines.append(f"  after {told.get(would.key.digest, would.key.stage)}")
        else:
            lines.append(f"{job.name}: stored")
    if not blocked:
        lines.append("nothing would run")
    return "\n".join(lines)


def _reasons(run: "Run", key: StageKey) -> Iterator[str]:
    """What makes a stage run, a line each."""
    yield from (f"  {difference}" for difference in contents.differences(key, run.store.root))
    if run.store.attempt(key).is_dir():
        yield "  an interrupted attempt is there and will be continued"


def _looking(config: RunConfig) -> "Run":
    """A run that asks its store and computes nothing but preparations."""
    from flows.stages.graph import PREPARATIONS
    from flows.stages.run import Run

    beyond = None if config.shared_store is None else connect(config.shared_store)
    return Run(config, store=contents.LookingStore(config.store, PREPARATIONS, beyond=beyond))


def _jobs(run: "Run") -> Iterator[tuple["Stage", "Job"]]:
    """What a run asks the store for, as far as its settings go, with the stage that it is of."""
    from flows.stages import graph

    for stage in graph.walk(run.config):
        if stage.name == CHECK:
            stage.work(run)
        if not stage.quick and (run.config.data.scores or not stage.scored):
            yield from ((stage, job) for job in stage.jobs(run))
