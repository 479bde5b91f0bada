"""What each verb of `mal` does; imports of a verb's machinery stay inside it."""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands.unused_settings import refuse_unused, work_of
from flows.lifetime.logs import detach_run_log, show_logs
from flows.settings import composing
from flows.settings.commands import SCORED
from flows.settings.run_config import RunConfig
from flows.stages.targets import into_folder
from flows.store.stage_names import CHECK, EVALUATE, FULL, LABEL, PREDICT, SEGMENT, TRAIN
from mal_core.errors import ArtifactError, ConfigError, printable
from mal_core.processes.collector import uncollected_imports
from mal_core.report.text_tables import text_table

if TYPE_CHECKING:
    from flows.settings.sweep import Combination

TRAINING_VERBS = ("run", "sweep", "train", "label", "segment", "evaluate", "predict")


def run_verb(verb: str, overrides: Sequence[str], *, force: bool) -> None:
    """Compose the settings and do it, on all machines and within the time that they name.

    Raises:
        MalCoreError: Input or settings are wrong, a stage failed, or the time is up.
    """
    show_logs()
    refuse_unused(overrides, work_of(verb, overrides))
    if verb not in TRAINING_VERBS:
        _do(verb, overrides, force=force)
        return
    from flows.lifetime import time_limit
    from flows.stages import session
    from flows.workers import nodes

    with session.joined() as opened:
        config = opened.config(_of_one_run(overrides) if verb == "sweep" else overrides)
        if config.node_rank > 0:
            nodes.follow(config)
            return
        with time_limit.time_limit(config.time_limit_minutes), nodes.leading(config):
            _do(verb, overrides, force=force)


def _of_one_run(overrides: Sequence[str]) -> Sequence[str]:
    return _combinations(overrides)[0].overrides


def _combinations(overrides: Sequence[str]) -> "tuple[Combination, ...]":
    from flows.settings import sweep
    from flows.stages import session

    with session.joined() as opened:
        return sweep.combinations(overrides, opened.config)


def _do(verb: str, overrides: Sequence[str], *, force: bool) -> None:
    if verb == "run":
        run_everything(overrides, force=force)
    elif verb == "sweep":
        run_sweep(overrides)
    elif verb == "report":
        render_report(overrides)
    elif verb == "history":
        show_history(overrides)
    else:
        single: dict[str, Callable[[Sequence[str], bool], None]] = {
            "train": train,
            "label": label,
            "segment": segment,
            "evaluate": evaluate,
            "estimate": estimate,
            "export": export,
            "export-labels": export_labels,
            "review": review,
            "predict": predict,
            "serve": serve,
            "score": _rewriting("scored_labels", "score"),
            "calibrate": _rewriting("scored_labels", "calibrate"),
            "refine": _rewriting("refined_labels", "refine"),
            "bake-off": bake_off,
        }
        single[verb](overrides, force)


def run_everything(overrides: Sequence[str], *, force: bool) -> None:
    """Check the input, then run the whole flow through Prefect."""
    placed = into_folder(overrides)
    config = _checked(placed)

    def run_flow() -> None:
        from flows.pipeline import mal_pipeline

        mal_pipeline(overrides=placed, stage=FULL, force=force)

    _with_server(run_flow)
    show_result(config)


def run_sweep(overrides: Sequence[str]) -> None:
    """Check each combination's input, run the whole flow for all, print what each came to."""
    from flows.settings import sweep

    found = _combinations(overrides)
    for combination in found:
        _checked(combination.overrides)

    def run_flow() -> None:
        from flows.pipeline import mal_sweep

        mal_sweep(overrides=list(overrides))

    try:
        _with_server(run_flow)
    finally:
        say(text_table(sweep.summary_rows(found)))


def _checked(overrides: Sequence[str]) -> RunConfig:
    """The settings of a whole run, of which the input is right.

    Before the flow, so that wrong input is refused at once and not after a server's start.
    """
    from flows.stages import graph, inputs, session, targets

    with session.joined() as opened:
        run = opened.run(overrides, graph.BY_NAME[EVALUATE].required)
        targets.check_labels(run)
        inputs.check_scored(run)
    return run.config


def _with_server(run_flow: Callable[[], None]) -> None:
    from flows.lifetime.logs import quiet_prefect

    quiet_prefect()
    with uncollected_imports():
        from prefect.exceptions import TerminationSignal

        from flows.lifetime import prefect_server

    with prefect_server.server(meanwhile=_import_flows):
        try:
            run_flow()
        except TerminationSignal as error:
            raise SystemExit(128 + error.signal) from error
        finally:
            detach_run_log()


def _import_flows() -> None:
    with uncollected_imports():
        importlib.import_module("flows.pipeline")


def _performed(overrides: Sequence[str], stage: str, force: bool) -> tuple[RunConfig, list[Any]]:
    """Do a stage without a flow; labels in shards on Dask or Ray get a flow run of their own.

    Stages need no Prefect, so they get none. Shards do: its task runners are the one way
    to Dask and Ray, and its server is started when there is something to label, not before.

    Returns:
        The settings, and what there is to say of the stage's outputs.
    """
    from flows.stages import graph, session

    def in_a_flow(config: RunConfig, jobs: Sequence[Path]) -> None:
        def run_flow() -> None:
            from flows.workers.shards import run_shards

            run_shards(config, jobs)

        _with_server(run_flow)

    with session.joined() as opened:
        run = opened.run(overrides, graph.BY_NAME[stage].required)
        run.force([stage] if force else [])
        run.shard_runner = None if run.config.label_runner == "threads" else in_a_flow
        graph.begin(run)
        return run.config, graph.perform(run, stage)


def check(overrides: Sequence[str], *, as_json: bool = False) -> None:
    """Check the splits that the settings name; repair copies of them where `fix` asks for it."""
    show_logs()
    refuse_unused(overrides, CHECK)
    from flows.commands import check_verb
    from flows.stages import graph, session

    with session.joined() as opened:
        copies = opened.config(overrides).fix
        placed = overrides if copies else into_folder(overrides, "check.json")
        run = opened.run(placed, graph.BY_NAME[CHECK].required)
        check_verb.check(run, as_json=as_json, say=say)


def estimate(overrides: Sequence[str], _force: bool) -> None:
    """Measure each stage for a while and say what the whole run will take."""
    from flows.commands import estimate as estimating
    from flows.stages import graph, session

    with session.joined() as opened:
        run = opened.run(overrides, graph.BY_NAME[LABEL].required)
        graph.begin(run)
        say(estimating.estimate(run))


def verify(file: Path) -> None:
    """Compare a file, its inputs and the code with what its manifest says.

    Raises:
        ArtifactError: Something differs; the message has all of it.
        ConfigError: It has no manifest.
    """
    show_logs()
    from flows.stages import cards

    found = cards.differences(file)
    if found:
        noun = "difference" if len(found) == 1 else "differences"
        message = "\n".join([f"{file}: {len(found)} {noun}", *(f"  - {each}" for each in found)])
        raise ArtifactError(message)
    say("everything is as the manifest says")


def train(overrides: Sequence[str], force: bool) -> None:
    """Train the labeler."""
    config, _ = _performed(overrides, TRAIN, force)
    say(config.workdir / "mal" / "checkpoint.pth")


def label(overrides: Sequence[str], force: bool) -> None:
    """Label the training file, with the trained checkpoint or with a given one."""
    config, (accounting,) = _performed(into_folder(overrides), LABEL, force)
    say(accounting)
    say(config.output or config.workdir / "labels" / "train.json")


def segment(overrides: Sequence[str], force: bool) -> None:
    """Train the segmenters."""
    config, _ = _performed(overrides, SEGMENT, force)
    say(config.workdir / "segmenters")


def evaluate(overrides: Sequence[str], force: bool) -> None:
    """Score the segmenters and write the report, or score `labels` by `human`: both or none."""
    from flows.stages import session

    compares = work_of("evaluate", overrides) == SCORED
    placed = into_folder(overrides, "label_metrics.json" if compares else None)
    with session.joined() as opened:
        config = opened.config(placed)
    if (config.labels is None) != (config.human is None):
        message = "labels=FILE and human=FILE go together: one is compared with the other."
        raise ConfigError(message)
    if config.labels is not None:
        score_labels(config)
        return
    config, _ = _performed(placed, EVALUATE, force)
    show_result(config)


def score_labels(config: RunConfig) -> None:
    """Compare a labeled file with human masks; leaves label_metrics.json."""
    from flows.commands import label_scores

    for line in label_scores.score_labels(config):
        say(line)


def _rewriting(module: str, work: str) -> Callable[[Sequence[str], bool], None]:
    """A verb that writes a labeled file again, by a function of its module."""

    def verb(overrides: Sequence[str], _force: bool) -> None:
        config = composing.compose(into_folder(overrides, "train.json"))
        say(getattr(importlib.import_module(f"flows.commands.{module}"), work)(config))
        say(str(config.output))

    return verb


def bake_off(overrides: Sequence[str], _force: bool) -> None:
    """Compare labelers on a sample of the training file's boxes."""
    from flows.commands import bake_off as comparing
    from flows.stages import graph, session

    with session.joined() as opened:
        for line in comparing.bake_off(opened.run(overrides, graph.BY_NAME[LABEL].required)):
            say(line)


def predict(overrides: Sequence[str], force: bool) -> None:
    """Predict images without annotations; leaves result files for a server."""
    _, written = _performed(overrides, PREDICT, force)
    for path in written:
        say(path)


def export(overrides: Sequence[str], _force: bool) -> None:
    """Write the labeling network as ONNX."""
    config = composing.compose(into_folder(overrides, "labeler.onnx"))
    from flows.stages import targets
    from mal_core.models.export import export_onnx
    from mal_core.processes.places import ONNX

    checkpoint = config.checkpoint or config.workdir / "mal" / "checkpoint.pth"
    target = targets.check_output(config, config.workdir / "mal" / "labeler.onnx", kind=ONNX)
    with targets.writable(target):
        exported = export_onnx(checkpoint, target, config.mal)
    for key, value in exported.items():
        say(f"{key}: {value}")
    say(target)


def export_labels(overrides: Sequence[str], _force: bool) -> None:
    """Write masks in the form of another tool."""
    from flows.commands import label_files

    for line in label_files.export(composing.compose(overrides)):
        say(line)


def review(overrides: Sequence[str], _force: bool) -> None:
    """Show the worst masks to people, or with `import` first take back what they corrected."""
    from flows.commands import reviewing

    if list(overrides[:1]) == ["import"]:
        given = into_folder(overrides[1:], "train.json")
        lines = reviewing.import_corrections(composing.compose(given))
    else:
        lines = reviewing.review(composing.compose(overrides))
    for line in lines:
        say(line)


def render_report(overrides: Sequence[str]) -> None:
    """Render report.html again from what lies in the working folder, and print the table.

    Raises:
        ArtifactError: The folder has no finished evaluation.
    """
    config = composing.compose(overrides)
    from flows.commands import working_folder

    working_folder.render_report(config.workdir)
    show_result(config)


def cache(action: str, arguments: Sequence[str]) -> None:
    """Look at the store, or make room in it."""
    show_logs()
    from flows.commands import cache_verbs

    say(cache_verbs.run_action(action, arguments))


def serve(overrides: Sequence[str], _force: bool) -> None:
    """Show reports in a browser until interrupted."""
    config = composing.compose(overrides)
    from flows.dashboard.report_server import make_server
    from flows.dashboard.reviews import HOST

    remembered = config.store / composing.HISTORY
    reviews = config.store / composing.REVIEWS
    with make_server(remembered, config.serve_port, reviewed=reviews) as server:
        say(f"http://{HOST}:{server.server_address[1]}")
        server.serve_forever()


def show_history(overrides: Sequence[str]) -> None:
    """Print all evaluations that the store remembers; leaves history.html."""
    config = composing.compose(overrides)
    from flows.commands import working_folder

    for line in working_folder.write_history(config):
        say(line)


def show_result(config: RunConfig) -> None:
    """The retention table, where every box went, and where the page is."""
    from flows.commands import working_folder
    from mal_core.report.tables import retention_text

    say(retention_text(working_folder.read_report(config.workdir)))
    say(f"report: {config.workdir / 'report.html'}")


def say(result: str | Path) -> None:
    """Print a result; stdout has results and nothing else."""
    sys.stdout.write(f"{printable(str(result))}\n")
    sys.stdout.flush()
