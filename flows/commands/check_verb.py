"""`mal check`: all problems by kind, as text or JSON, and repaired copies of the files."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from flows.settings.run_config import RunConfig
from flows.stages import examining, repairing, targets
from flows.stages.run import Run
from mal_core.data.inspection.findings import (
    BEYOND_REPAIR,
    EXAMPLES,
    Finding,
    report_json,
    report_text,
    shortened_finding,
)
from mal_core.data.inspection.repair import Repaired
from mal_core.errors import ConfigError, DatasetError
from mal_core.formats import FORMATS
from mal_core.processes.own_file import write_own_json
from mal_core.processes.places import FOLDER, check_place, leaving_nothing

logger = logging.getLogger(__name__)

ALL = 1 << 40
ADVICE = "fix=true output=DIR writes copies in which all that has one meaning is put right."


def check(run: Run, *, as_json: bool, say: Callable[[str], None]) -> None:
    """Check the input as a run says, and repair copies of it where it asks for that.

    Args:
        run: Its splits are checked.
        as_json: What is said is JSON, whether the input is right or wrong.
        say: Prints a result.

    Raises:
        DatasetError: The input is wrong; its message has all kinds of problems.
        ConfigError: The output cannot be written to.
    """
    config = run.config
    if config.fix:
        if config.output is None:
            message = "fix=true needs output=DIR, a folder for the repaired copies."
            raise ConfigError(message)
        check_place(config.output, targets.sources(config), kind=FOLDER)
        say(_fix(run, config.output))
        return
    if config.output is not None:
        targets.check_output(config)
    findings = examining.examine(run, examples=ALL if as_json or config.output else EXAMPLES)
    if config.output is not None:
        with targets.writable(config.output):
            write_own_json(config.output, report_json(findings), indent=1)
    if as_json:
        say(json.dumps(report_json(findings), indent=1))
    errors = [shortened_finding(finding) for finding in findings if finding.severity == "error"]
    if errors:
        error = _error(errors)
        raise error if as_json else _with(error, "", _advice(config, errors))
    _say_warnings(run, findings)
    if not as_json:
        say("the input is fine")


def _say_warnings(run: Run, findings: Sequence[Finding]) -> None:
    for line in (*examining.counts(run), *report_text(findings).splitlines()):
        logger.info("%s", line)


def _error(errors: Sequence[Finding]) -> DatasetError:
    error = DatasetError(errors[0].file, [text for finding in errors for text in finding.examples])
    error.args = (report_text(errors),)
    return error


def _advice(config: RunConfig, errors: Sequence[Finding]) -> str:
    """How a copy is put right, where one can be."""
    formats = {config.data.train_format, config.data.val_format}
    able = all(name == "coco" or FORMATS[name].leaves_out for name in formats)
    able = able and any(one.file != config.mal.guide for one in errors)  # no copy is of a guide
    return ADVICE if able and all(one.kind not in BEYOND_REPAIR for one in errors) else ""


def _with(error: DatasetError, before: str, after: str) -> DatasetError:
    error.args = ("\n".join(filter(None, [before, str(error), after])),)
    return error


def _fix(run: Run, folder: Path) -> str:
    with targets.writable(folder), leaving_nothing(folder):
        found = repairing.write_repaired(run, folder)
    lines = [line for name, repaired in found.items() for line in _summary(folder, name, repaired)]
    again = repairing.repaired_run(run, folder)
    left = examining.examine(again, examples=EXAMPLES)
    errors = [finding for finding in left if finding.severity == "error"]
    if errors:
        raise _with(_error(errors), "\n".join([*lines, "what no repair can mend:"]), "")
    _say_warnings(again, left)
    return "\n".join([*lines, f"all changes: {folder / repairing.CHANGES}", "the copies are fine"])


def _summary(folder: Path, name: str, repaired: Repaired) -> list[str]:
    counts = ", ".join(f"{count} {what}" for what, count in repaired.counts().items())
    head = f"{folder / name}.json: {counts or 'nothing to change'}"
    shown = [f"  - {change.entry} {change.what}: {change.why}" for change in repaired.changes]
    hidden = len(shown) - EXAMPLES
    more = [f"    ... and {hidden} more"] if hidden > 0 else []
    return [head, *shown[:EXAMPLES], *more]
