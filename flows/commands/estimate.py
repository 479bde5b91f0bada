"""`mal estimate`: hours, disk, memory and money of a whole run, before it begins."""

from collections.abc import Sequence
from pathlib import Path

from flows.commands.measuring import measure
from flows.stages import targets
from flows.stages.run import Run
from mal_core.evaluation.costs import ESTIMATE, Estimate, EstimateFile
from mal_core.processes.records import write_record
from mal_core.report.text_tables import text_table

GIB = 1 << 30


def estimate(run: Run) -> str:
    """Measure all stages; leaves estimate.json in the working folder.

    Returns:
        A table with the sums.

    Raises:
        MalCoreError: The input is wrong, or a stage fails.
    """
    config = run.config
    found = list(measure(run, seconds=config.measure_seconds, scored=config.data.scores))
    target = config.workdir / ESTIMATE
    with targets.writable(target):
        write_record(target, EstimateFile(stages=tuple(found)), indent=1)
    return table(found, config.price_per_hour, target)


def table(found: Sequence[Estimate], price: float | None, target: Path) -> str:
    """What each stage takes, and all together."""
    rows = [
        {
            "stage": stage.stage,
            "hours": f"{stage.hours:.3f}",
            "per second": f"{stage.rate:.3g}" if stage.rate else stage.how,
            "of": str(stage.units or ""),
            "disk GiB": f"{stage.disk_bytes / GIB:.2f}",
            "memory GiB": f"{stage.memory_bytes / GIB:.2f}",
        }
        for stage in found
    ]
    hours = sum(stage.hours for stage in found)
    disk = sum(stage.disk_bytes for stage in found) / GIB
    memory = max((stage.memory_bytes for stage in found), default=0) / GIB
    sums = ["together", f"{hours:.3f}", "", "", f"{disk:.2f}", f"{memory:.2f}"]
    rows.append(dict(zip(rows[0], sums, strict=True)))
    lines = [text_table(rows)]
    if price is not None:
        lines.append(f"at {price:g} per hour: {hours * price:.2f}")
    return "\n".join([*lines, str(target)])
