"""The Prefect flow: check -> boxes -> train -> label -> segment -> evaluate, or one stage.

Each stage of `flows.stages.graph` is a subflow, each of its outputs a task.

The store decides what is reused, so no task is cached by Prefect. Tasks are called, not
submitted: the kernel ties a child process to the thread that started it, and the flow's
main thread is the one that a cancelled run interrupts.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows.lifetime.logs import attach_run_log, set_prefect_defaults
from mal_core.processes.collector import end_uncollected

set_prefect_defaults()
end_uncollected()

from prefect import flow, task  # noqa: E402 - its settings are read on import
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.runtime import flow_run  # noqa: E402

from flows.dashboard import artifacts  # noqa: E402
from flows.dashboard.progress import shown_on_dashboard  # noqa: E402
from flows.dashboard.report_server import report_url  # noqa: E402
from flows.lifetime import interruption, supervision  # noqa: E402
from flows.lifetime.time_limit import time_limit  # noqa: E402
from flows.settings import sweep  # noqa: E402
from flows.settings.form import Form  # noqa: E402
from flows.stages import graph, results, session  # noqa: E402
from flows.stages.run import Run  # noqa: E402
from flows.stages.targets import into_folder  # noqa: E402
from flows.store.stage_names import EVALUATE, FULL, FlowStage  # noqa: E402
from flows.workers import nodes  # noqa: E402
from flows.workers.shards import run_shards  # noqa: E402
from mal_core.errors import MalCoreError  # noqa: E402
from mal_core.evaluation.retention import RetentionReport  # noqa: E402

DEMO = ("experiment=demo",)
EMPTY_FORM = Form()
GPU = "mal-gpu"
"""Tag of the tasks that train or label: a concurrency limit on it is how many run at a time."""


def _show_accounting(run: Run, accounting: str) -> None:
    name = results.data_name(run, scored=False)
    artifacts.show_accounting(name, run.config.workdir, accounting)


def _show_retention(run: Run, report: RetentionReport) -> None:
    config, data = run.config, results.data_name(run, scored=True)
    url, evaluations = (
        report_url(config.serve_port, config.workdir),
        results.earlier_evaluations(run),
    )
    artifacts.show_retention(data, config.workdir, report, evaluations, url)


SHOW: dict[str, Callable[[Run, Any], None]] = {
    "accounting": _show_accounting,
    "retention": _show_retention,
}
"""What fills each part of the dashboard that a stage may have."""


@task(task_run_name="{title}", cache_policy=NO_CACHE)
def do_job(title: str, call: Callable[[], None]) -> None:
    """One output of a stage: asked for, published, shown."""
    call()


@flow(flow_run_name="{stage}")
def do_stage(stage: str, overrides: list[str], alone: bool) -> None:
    """A stage of a run, each of its outputs a task.

    Args:
        stage: Its name.
        overrides: Settings of the run.
        alone: What it needs becomes visible with it; else that has been done.
    """
    with session.joined() as opened:
        _perform(opened.run(overrides), stage, alone=alone)


def _perform(run: Run, stage: str, *, alone: bool) -> None:
    def do(part: graph.Stage, job: graph.Job) -> None:
        def call() -> None:
            said = job.do()
            if part.shown is not None:
                SHOW[part.shown](run, said)

        tags = [GPU] if part.on_gpu else []
        do_job.with_options(name=part.title, tags=tags)(job.title, call)

    graph.perform(run, stage, do, alone=alone)


def _given(form: Form, overrides: Sequence[str] | None) -> list[str]:
    filled = form.overrides()
    return list(DEMO) if overrides is None and not filled else [*filled, *(overrides or [])]


def run_name() -> str:
    """What this flow run does and where its results go, such as "full in runs/demo"."""
    parameters = flow_run.parameters
    stage = str(parameters["stage"])
    opened = session.current() or _begun.setdefault(str(flow_run.id), session.Session())
    try:
        form = Form.model_validate(parameters["form"])
        workdir = opened.config(_given(form, parameters["overrides"])).workdir
    except ValueError:  # settings or a form that the flow itself is about to refuse
        return stage
    here = Path.cwd()
    return f"{stage} in {workdir.relative_to(here) if workdir.is_relative_to(here) else workdir}"


_begun: dict[str, session.Session] = {}
"""Sessions of flow runs that have a name and have not started yet."""


@flow(name="mal-pipeline", flow_run_name=run_name, on_crashed=[supervision.hand_over])
def mal_pipeline(
    form: Form = EMPTY_FORM,
    overrides: list[str] | None = None,
    stage: FlowStage = "full",
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
    chosen = into_folder(_given(form, overrides))
    with session.joined(_begun.pop(str(flow_run.id), None)) as opened:
        config = opened.config(chosen)
        if config.node_rank > 0:
            nodes.follow(config)
            return
        with time_limit(config.time_limit_minutes), nodes.leading(config), shown_on_dashboard():
            last = EVALUATE if stage == FULL else stage
            run = opened.run(chosen, graph.BY_NAME[last].required)
            run.shard_runner = run_shards
            graph.begin(run)
            if stage == FULL:
                _do_all(run, chosen, force=force)
            else:
                run.force([stage] if force else [])
                do_stage.with_options(name=stage)(stage, chosen, alone=True)


def _do_all(run: Run, overrides: list[str], *, force: bool) -> None:
    """Check -> boxes -> train -> label -> segment -> evaluate."""
    for stage in graph.walk(run.config):
        if stage.quick:
            _perform(run, stage.name, alone=False)
        else:
            run.force([stage.name] if force else [])
            do_stage.with_options(name=stage.name)(stage.name, overrides, alone=False)


@flow(name="mal-sweep", flow_run_name="sweep", on_crashed=[supervision.hand_over])
def mal_sweep(overrides: list[str]) -> None:
    """A grid of runs, one after the other; one that fails leaves the others alone.

    Args:
        overrides: Settings as KEY=VALUE; one with several values, KEY=A,B, spans the grid.

    Raises:
        MalCoreError: Some failed; names them, after all others are done.
    """
    attach_run_log()
    supervision.end_with_worker()
    with session.joined() as opened:
        found = sweep.combinations(overrides, opened.config)
        config = opened.config(found[0].overrides)
        if config.node_rank > 0:
            nodes.follow(config)
            return
        failed = []
        with time_limit(config.time_limit_minutes), nodes.leading(config):
            for combination in found:
                state = mal_pipeline(overrides=list(combination.overrides), return_state=True)
                interruption.stop_if_asked()  # not this run alone
                if state.is_failed() or state.is_crashed():
                    failed.append(combination.name)
    artifacts.show_sweep(sweep.summary_rows(found))
    if failed:
        message = f"{len(failed)} of {len(found)} runs failed: {', '.join(failed)}"
        raise MalCoreError(message)
