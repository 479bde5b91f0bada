"""Storage on a real S3 server and in a folder: exclusive creation, patience, clear refusals."""

import importlib
import sys
import threading
from pathlib import Path

import pytest

from flows.settings.composing import compose
from flows.stages.run import Run
from flows.store import object_storage
from flows.store.object_storage import ObjectStorage
from mal_core.errors import ArtifactError, ConfigError
from tests.flows.s3_server import S3Server


@pytest.fixture(params=["s3", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStorage:
    if request.param == "s3":
        return ObjectStorage(request.getfixturevalue("place"))
    return ObjectStorage(f"file://{tmp_path}")


def test_an_object_is_created_once(storage: ObjectStorage) -> None:
    assert storage.create("a/b", b"first")
    assert not storage.create("a/b", b"second")
    assert storage.create("a/b", b"first")  # the same request again, its answer was lost
    assert storage.read("a/b") == b"first"


def test_of_many_that_create_at_once_one_succeeds(storage: ObjectStorage) -> None:
    start, made = threading.Barrier(8), []

    def create(content: bytes) -> None:
        start.wait()
        made.append(storage.create("a/b", content))

    threads = [threading.Thread(target=create, args=(b"%d" % count,)) for count in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(made) == [False] * 7 + [True]


def test_what_may_pass_is_tried_again_and_what_will_not_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ObjectStorage(f"file://{tmp_path}")
    monkeypatch.setattr(object_storage, "PAUSES_S", (0.0, 0.0))
    calls = []

    def fail(reason: type[OSError], times: int) -> bytes:
        calls.append(reason)
        if len(calls) <= times:
            raise reason(5, "no luck")
        return b"content"

    monkeypatch.setattr(folder._files, "cat_file", lambda _: fail(TimeoutError, 2))
    assert folder.read("a") == b"content"
    assert len(calls) == 3
    calls.clear()
    monkeypatch.setattr(folder._files, "cat_file", lambda _: fail(PermissionError, 2))
    with pytest.raises(Exception, match="owner and mode"):
        folder.read("a")
    assert len(calls) == 1


def test_storage_that_overwrites_what_shall_be_new_is_told_apart(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    storage.check()
    assert caplog.text == ""
    assert storage.listing() == []
    monkeypatch.setattr(storage, "_create", storage._write)
    storage.check()
    assert "If-None-Match" in caplog.text


def refusal(url: str, tmp_path: Path) -> str:
    with pytest.raises((ArtifactError, ConfigError)) as caught:
        Run(compose([f"shared_store={url}", f"store={tmp_path / 'store'}"]))
    assert url in str(caught.value)
    return str(caught.value)


def test_missing_bucket_or_folder_is_told_before_any_work(s3: S3Server, tmp_path: Path) -> None:
    assert "Create the bucket" in refusal("s3://nobody-made-this/prefix", tmp_path)
    assert "Create the bucket" in refusal(f"file://{tmp_path}/absent", tmp_path)


def test_unreachable_endpoint_is_told_before_any_work(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # discard: nobody listens
    assert "AWS_ENDPOINT_URL" in refusal(f"{s3.url}/unreachable", tmp_path)


def test_missing_credentials_are_told_before_any_work(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "check AWS_ACCESS_KEY_ID" in refusal(f"{s3.url}/nobody", tmp_path)


def test_wrong_credentials_are_told_before_any_work(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = S3Server(tmp_path, strict=True)
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", strict.environment["AWS_ENDPOINT_URL"])
        message = refusal(f"{s3.url}/stranger", tmp_path)
    finally:
        strict.stop()
    assert "check AWS_ACCESS_KEY_ID" in message
    assert strict.environment["AWS_SECRET_ACCESS_KEY"] not in message


def test_missing_package_and_unknown_protocol_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Protocol not known" in refusal("carrier-pigeon://home", tmp_path)
    registry = importlib.import_module("fsspec.registry")  # remembers what it has imported
    monkeypatch.delitem(registry._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert "pip install 'mal-pipeline[s3]'" in refusal("s3://bucket/without-s3fs", tmp_path)
