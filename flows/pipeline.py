"""The Prefect flow: the whole pipeline or one stage, each stage a subflow, its steps tasks.

The store decides what is reused, so no task is cached by Prefect. Tasks are called, not
submitted: the kernel ties a child process to the thread that started it, and the flow's
main thread is the one that a cancelled run interrupts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from flows.lifetime.logs import attach_run_log, set_prefect_defaults

set_prefect_defaults()

from prefect import flow, task  # noqa: E402 - its settings are read on import
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.runtime import flow_run  # noqa: E402

from flows.dashboard import artifacts  # noqa: E402
from flows.dashboard.progress import shown_on_dashboard  # noqa: E402
from flows.dashboard.report_server import report_url  # noqa: E402
from flows.lifetime import interruption, supervision  # noqa: E402
from flows.lifetime.time_limit import time_limit  # noqa: E402
from flows.settings import composing, sweep  # noqa: E402
from flows.settings.form import Form  # noqa: E402
from flows.stages import nodes, steps  # noqa: E402
from flows.stages.run import Run  # noqa: E402
from flows.stages.stages import EVALUATE, LABEL, MAIN_STAGES, SEGMENT, TRAIN, Arm  # noqa: E402
from flows.workers.shards import run_shards  # noqa: E402
from mal_core.config import SegmenterConfig  # noqa: E402
from mal_core.errors import MalCoreError  # noqa: E402

Stage = Literal[
    "full", "train-mal", "generate-pseudo-labels", "train-segmenter", "evaluate-retention"
]
DEMO = ("experiment=demo",)
EMPTY_FORM = Form()
GPU = "mal-gpu"
"""Tag of the tasks that train or label: a concurrency limit on it is how many run at a time."""


@task(name="check the input", task_run_name="check the input", cache_policy=NO_CACHE)
def check_input(run: Run, *, need_val: bool) -> None:
    """Check all images and annotations before anything is trained."""
    steps.check(run, need_val=need_val)


@task(name="train MAL", task_run_name="train MAL", cache_policy=NO_CACHE, tags=[GPU])
def train_mal_task(run: Run) -> None:
    """Phase 1 in a child process."""
    steps.train_mal(run)


@task(name="label every box", task_run_name="label every box", cache_policy=NO_CACHE, tags=[GPU])
def label_task(run: Run) -> None:
    """Write the pseudo-labels in a child process and show the accounting."""
    accounting = steps.generate_pseudo_labels(run)
    artifacts.show_accounting(steps.data_name(run, scored=False), run.config.workdir, accounting)


@task(
    name="train segmenter",
    task_run_name="train {recipe.name} on {arm} masks, seed {seed}",
    cache_policy=NO_CACHE,
    tags=[GPU],
)
def segmenter_task(run: Run, recipe: SegmenterConfig, arm: Arm, seed: int) -> None:
    """Phase 2 for one recipe on one arm's masks, in a child process."""
    steps.train_segmenter(run, recipe, arm, seed)


@task(name="evaluate retention", task_run_name="evaluate retention", cache_policy=NO_CACHE)
def evaluate_task(run: Run) -> None:
    """Score both arms, write the report and show it on the dashboard."""
    report = steps.evaluate_retention(run)
    url = report_url(run.config.serve_port, run.config.workdir)
    data, evaluations = steps.data_name(run, scored=True), steps.earlier_evaluations(run)
    artifacts.show_retention(data, run.config.workdir, report, evaluations, url)


def _open(overrides: Sequence[str], stage: str, *, force: bool, need_val: bool) -> Run:
    required = (*composing.TRAIN_KEYS, *(composing.VAL_KEYS if need_val else ()))
    config = composing.compose(overrides, required=required)
    return steps.open_run(config, force=[stage] if force else [], shard_runner=run_shards)


@flow(name=TRAIN, flow_run_name=TRAIN)
def train_mal(overrides: list[str], force: bool = False) -> None:
    """Train the labeler on boxes."""
    train_mal_task(_open(overrides, TRAIN, force=force, need_val=False))


@flow(name=LABEL, flow_run_name=LABEL)
def generate_pseudo_labels(overrides: list[str], force: bool = False) -> None:
    """Label every box of the training file."""
    label_task(_open(overrides, LABEL, force=force, need_val=False))


@flow(name=SEGMENT, flow_run_name=SEGMENT)
def train_segmenter(overrides: list[str], force: bool = False) -> None:
    """Train all segmenters on both kinds of masks."""
    run = _open(overrides, SEGMENT, force=force, need_val=True)
    steps.train_segmenters(run, segmenter_task)


@flow(name=EVALUATE, flow_run_name=EVALUATE)
def evaluate_retention(overrides: list[str], force: bool = False) -> None:
    """Compare both arms and publish the report."""
    evaluate_task(_open(overrides, EVALUATE, force=force, need_val=True))


SUBFLOWS = {
    TRAIN: train_mal,
    LABEL: generate_pseudo_labels,
    SEGMENT: train_segmenter,
    EVALUATE: evaluate_retention,
}


def _given(form: Form, overrides: Sequence[str] | None) -> list[str]:
    filled = form.overrides()
    return list(DEMO) if overrides is None and not filled else [*filled, *(overrides or [])]


def run_name() -> str:
    """What this flow run does and where its results go, such as "full in runs/demo"."""
    parameters = flow_run.parameters
    stage = str(parameters["stage"])
    try:
        form = Form.model_validate(parameters["form"])
        workdir = composing.compose(_given(form, parameters["overrides"])).workdir
    except ValueError:  # settings or a form that the flow itself is about to refuse
        return stage
    here = Path.cwd()
    return f"{stage} in {workdir.relative_to(here) if workdir.is_relative_to(here) else workdir}"


@flow(name="mal-pipeline", flow_run_name=run_name, on_crashed=[supervision.hand_over])
def mal_pipeline(
    form: Form = EMPTY_FORM,
    overrides: list[str] | None = None,
    stage: Stage = "full",
    force: bool = False,
) -> None:
    """From boxes to the retention report, or one stage with whatever it needs.

    Args:
        form: The settings most people change.
        overrides: Any setting as KEY=VALUE in Hydra's grammar, stronger than the form. Without
            both the demo runs.
        stage: "full" or the one stage to run.
        force: Compute the stage again (all of them for "full") although it is stored.
    """
    attach_run_log()
    supervision.end_with_worker()
    chosen = composing.pinned(_given(form, overrides))
    config = composing.compose(chosen)
    if config.node_rank > 0:
        nodes.follow(config)
        return
    with time_limit(config.time_limit_minutes), nodes.leading(config):
        if stage == "full":
            check_input(_open(chosen, stage, force=False, need_val=True), need_val=True)
        names: Sequence[str] = MAIN_STAGES if stage == "full" else (stage,)
        if stage == "full" and not config.trains_labeler:
            names = [name for name in names if name != TRAIN]  # a given labeler is used as it is
        with shown_on_dashboard():
            for name in names:
                SUBFLOWS[name](chosen, force=force)


@flow(name="mal-sweep", flow_run_name="sweep", on_crashed=[supervision.hand_over])
def mal_sweep(overrides: list[str]) -> None:
    """A grid of runs, one after the other; one that fails leaves the others alone.

    Args:
        overrides: Settings as KEY=VALUE; one with several values, KEY=A,B, spans the grid.
    """
    attach_run_log()
    supervision.end_with_worker()
    found = sweep.combinations(overrides)
    config = composing.compose(found[0].overrides)
    if config.node_rank > 0:
        nodes.follow(config)
        return
    failed = []
    with time_limit(config.time_limit_minutes), nodes.leading(config):
        for one in found:
            state = mal_pipeline(overrides=list(one.overrides), return_state=True)
            interruption.stop_if_asked()  # not this run alone
            if state.is_failed() or state.is_crashed():
                failed.append(one.name)
    artifacts.show_sweep(sweep.summary_rows(found))
    if failed:
        message = f"{len(failed)} of {len(found)} runs failed: {', '.join(failed)}"
        raise MalCoreError(message)
