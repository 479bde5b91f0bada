"""What `mal cache ls|why|rm|gc` do."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from flows import cache, settings
from flows.run_config import RunConfig
from mal_core.errors import ConfigError

DEFAULT_DAYS = 30.0


def run_action(action: str, arguments: Sequence[str]) -> str:
    """Do one of ls, why, rm and gc.

    Args:
        action: Which.
        arguments: Settings for `ls` and `why`, names of outputs for `rm`, `days=N` and
            `dry_run=true` for `gc`; `store=DIR` for all.

    Returns:
        What to print.

    Raises:
        ConfigError: An argument means nothing.
    """
    if action == "why":
        return why(arguments)
    own = [text for text in arguments if text and not text.startswith("store=")]
    root = settings.compose([text for text in arguments if text.startswith("store=")]).store
    if action == "ls":
        found = cache.chosen(root, own) if own else cache.entries(root)
        return cache.listing(found)
    if action == "rm":
        if not own:
            message = "mal cache rm: name what to remove, a stage or STAGE/KEY; see `mal cache ls`."
            raise ConfigError(message)
        return f"removed:\n{cache.listing(cache.remove(cache.chosen(root, own)))}"
    days, dry = _gc_options(own)
    found = cache.unused(root, days)
    if dry:
        return f"would be removed:\n{cache.listing(found)}"
    return f"removed:\n{cache.listing(cache.remove(found))}"


def _gc_options(arguments: Sequence[str]) -> tuple[float, bool]:
    days, dry = DEFAULT_DAYS, False
    for text in arguments:
        name, _, value = text.partition("=")
        if name == "dry_run" and value in ("true", "false"):
            dry = value == "true"
        elif name == "days" and value.replace(".", "", 1).isdigit():
            days = float(value)
        else:
            message = f"mal cache gc: {text!r} is neither days=NUMBER nor dry_run=true."
            raise ConfigError(message)
    return days, dry


def why(overrides: Sequence[str]) -> str:
    """Which stages of a run are stored, and what makes the first others run."""
    from flows import stages

    config = settings.compose(overrides, required=settings.TRAIN_KEYS)
    stages.check_settings(config)
    store = cache.LookingStore(config.store, stages.PREPARATIONS)
    lines, blocked = [], False
    for title, ask in _stages(config, store):
        try:
            ask()
        except cache.WouldRunError as would:
            blocked = True
            lines.append(f"{title}: would run")
            if would.key.stage in title:
                lines += [f"  {one}" for one in cache.differences(would.key, config.store)]
            else:
                lines.append(f"  after {would.key.stage}")
        else:
            lines.append(f"{title}: stored")
    if not blocked:
        lines.append("nothing would run")
    return "\n".join(lines)


def _stages(
    config: RunConfig, store: cache.LookingStore
) -> Iterator[tuple[str, Callable[[], object]]]:
    from flows import retention_stage, stages
    from flows.run import Run

    run = Run(config, store=store)
    scored = config.data.source == "scenes" or config.data.val is not None
    stages.check(run, need_val=scored)
    if config.trains_labeler:
        yield stages.TRAIN, partial(stages.train_mal, run)
    yield stages.LABEL, partial(stages.generate_pseudo_labels, run)
    if not scored:
        return
    arms = stages.arms(run)
    for seed in config.seeds:
        for recipe in config.segmenters:
            for arm in arms:
                title = f"{stages.SEGMENT}: {recipe.name} on {stages.ARM_TITLES[arm]}, seed {seed}"
                yield title, partial(stages.train_segmenter, run, recipe, arm, seed)
    yield stages.EVALUATE, partial(retention_stage.evaluate_retention, run)
