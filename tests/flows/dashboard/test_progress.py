"""A dashboard that cannot be reached costs its own news only."""

import httpx
import pytest
from prefect.exceptions import PrefectException, PrefectHTTPStatusError

from flows.dashboard import progress
from flows.dashboard.progress import ProgressArtifacts


def status_error(code: int) -> PrefectHTTPStatusError:
    request = httpx.Request("PATCH", "http://server/api/artifacts/1")
    answer = httpx.Response(code, json={}, request=request)
    try:
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        return PrefectHTTPStatusError.from_httpx_error(error)
    return pytest.fail(f"{code} is no error")


@pytest.mark.parametrize(
    "error",
    [
        status_error(500),
        status_error(404),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        PrefectException("odd"),
        ConnectionResetError(),
    ],
    ids=repr,
)
def test_a_server_in_trouble_does_not_end_a_training(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []

    def fail(*arguments: object, **options: object) -> None:
        sent.append(arguments)
        raise error

    monkeypatch.setattr(progress, "create_progress_artifact", fail)
    ProgressArtifacts().show("train MAL", 1, 6, "train MAL: 1/6")
    assert len(sent) == 1
