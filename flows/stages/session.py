"""What one command or one flow run has composed and opened: settings once, and one `Run` of them.

A command hands its session to the flow that it starts: the flow has the overrides as its
parameters, for everyone to read, and asks the session what they come to.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from flows.settings import composing
from flows.settings.composing import Composed
from flows.settings.from_checkpoint import with_own_labeling
from flows.settings.run_config import RunConfig
from flows.settings.unheeded import require_heeded
from flows.stages import drawing
from flows.stages.run import Run
from mal_core.models.encoder_names import check_encoder_name
from mal_core.models.weight_packages import package_of


class Session:
    """Settings and runs by overrides; a name such as `latest` keeps its meaning."""

    def __init__(self) -> None:
        self._composed: dict[tuple[str, ...], Composed] = {}
        self._runs: dict[tuple[str, ...], Run] = {}

    def config(self, overrides: Sequence[str], required: Sequence[str] = ()) -> RunConfig:
        """The settings.

        Raises:
            ConfigError: They are wrong, nobody heeds one, or a required one is absent.
        """
        key = tuple(overrides)
        if key not in self._composed:
            composed = composing.compose_for(overrides, required=required)
            require_heeded(composed.config, overrides)
            self._composed[key] = composed
        return self._composed[key].require(required)

    def run(
        self,
        overrides: Sequence[str],
        required: Sequence[str] = (),
        begin: Callable[[RunConfig], Run] = Run,
    ) -> Run:
        """The run with these settings, which are possible ones.

        Args:
            overrides: The settings.
            required: Those without a default that it needs.
            begin: Makes it, where the session has none.

        Raises:
            ConfigError: As `config`; or an encoder, a recipe or a cluster does not exist.
            CheckpointError: `checkpoint=` cannot be read.
        """
        config, key = self.config(overrides, required), tuple(overrides)
        if key not in self._runs:
            config = with_own_labeling(config, overrides)
            check_settings(config)
            self._runs[key] = begin(config)
        return self._runs[key]


def check_settings(config: RunConfig) -> None:
    """Refuse an encoder that timm does not have, a recipe or a runner that cannot work.

    Raises:
        ConfigError: The message names similar ones.
        CheckpointError: A segmenter's file of weights is none; phase 1 would train before it.
    """
    from flows.stages.label_runners import check_label_runner
    from mal_core.jobs.segmenter import resolve_config

    check_label_runner(config)
    drawing.check_labeler(config)
    if config.trains_labeler:
        check_encoder_name(config.encoder.name)
    for recipe in config.segmenters:
        resolve_config(recipe.config)
    for weights in {recipe.weights for recipe in config.segmenters}:
        if weights is None or not Path(weights).is_absolute():
            continue
        if package_of(Path(weights)) is None:  # pip has looked after its own
            from mal_core.models.safe_weights import read_weights  # torch: only for a file

            read_weights(weights, f"segmenter.weights={weights}")


_session: contextvars.ContextVar[Session | None] = contextvars.ContextVar("session", default=None)


def current() -> Session | None:
    """The session at work in this context."""
    return _session.get()


@contextlib.contextmanager
def joined(begun: Session | None = None) -> Iterator[Session]:
    """The session at work; where there is none, one for as long as this lasts.

    Args:
        begun: What a new one goes on with.
    """
    at_work = _session.get()
    if at_work is not None:
        yield at_work
        return
    new = begun or Session()
    token = _session.set(new)
    try:
        yield new
    finally:
        _session.reset(token)
