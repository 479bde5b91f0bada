"""CPU seconds of each test, its children and its fixtures: `pytest --cpu-times=20`.

Wall time says how busy the machine was; CPU seconds say what a test costs on any machine. A server
that outlives its test is counted where it is stopped, in the teardown of its file's last test.
"""

import resource
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest


def used() -> float:
    """User and system seconds of this process and of all children that it has waited for."""
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class CpuTimes:
    """Puts the CPU seconds of each phase into its report and lists the longest tests at the end."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.mark = used()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Iterator[None]:
        report = yield
        now = used()
        # A plain attribute of a report travels from xdist's workers to the process that lists.
        report.cpu_seconds, self.mark = now - self.mark, now
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        tests: Counter[str] = Counter()
        for reports in terminalreporter.stats.values():
            for one in reports:
                tests[getattr(one, "nodeid", "")] += getattr(one, "cpu_seconds", 0.0)
        files: dict[str, float] = defaultdict(float)
        for name, seconds in tests.items():
            files[name.partition("::")[0]] += seconds
        terminalreporter.section(f"CPU seconds: {sum(files.values()):.0f} in all")
        for title, table in (("files", Counter(files)), ("tests", tests)):
            terminalreporter.write_line(f"the longest {title}:")
            for name, seconds in table.most_common(self.count):
                terminalreporter.write_line(f"{seconds:8.1f}  {name}")
