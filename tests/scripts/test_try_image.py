"""The trial of the image, as far as it needs no Docker."""

from types import ModuleType

import pytest

from tests.script_files import load_script

PRINTED = """\
#1 [internal] load build definition from Dockerfile
#1 DONE 2.2s

#5 [base 2/2] RUN apt-get update;     apt-get install
#5 0.310 Get:1 http://deb.debian.org/debian bookworm InRelease
#5 DONE 30.2s

#16 [final  3/11] COPY --from=environment /app/.venv .venv
#16 DONE 61.0s

#17 [final  4/11] COPY pyproject.toml LICENSE prefect.yaml automations.yaml ./
#17 DONE 0.4s

#18 [ 5/11] COPY work_pools work_pools
#18 DONE 1.0s

#24 [final 11/11] RUN .venv/bin/python -m compileall -q mal_core
#24 CACHED

#25 exporting to image
#25 exporting layers 311.9s done
#25 DONE 312.4s
"""


@pytest.fixture(scope="module")
def try_script() -> ModuleType:
    return load_script("try_image")


def test_every_step_that_took_a_second_is_named_with_its_seconds(
    monkeypatch: pytest.MonkeyPatch, try_script: ModuleType
) -> None:
    """Also those whose number BuildKit pads, and the export, which has none."""
    monkeypatch.setattr(try_script, "docker", lambda *words, variables=None: PRINTED)
    assert try_script.build("mal-pipeline:latest", []) == [
        ("base RUN apt-get update;     apt-get install", 30.2),
        ("final COPY --from=environment /app/.venv .venv", 61.0),
        ("COPY work_pools work_pools", 1.0),
        ("exporting to image", 312.4),
    ]


def test_a_run_is_noted_with_its_verdict_and_not_only_with_where_its_report_lies(
    try_script: ModuleType,
) -> None:
    printed = "solov2_r18  retention  93.9 %\n\nsolov2_r18: worse\ncost: 12 min\nreport: r.html\n"
    assert try_script.outcome(printed) == "solov2_r18: worse<br>cost: 12 min<br>report: r.html"


def test_a_warning_behind_the_count_of_modules_does_not_hide_it(try_script: ModuleType) -> None:
    assert (
        try_script.modules("320 modules\nx.py:1: UserWarning\n  warnings.warn(\n") == "320 modules"
    )
