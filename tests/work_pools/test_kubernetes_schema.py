"""The checker of manifests finds what it is for."""

from typing import Any

import pytest

from tests.work_pools.kubernetes_schema import problems


def job(**pod: Any) -> dict[str, Any]:
    container = {"name": "one", "image": "image", "resources": {"limits": {"cpu": "1"}}}
    template = {"spec": {"restartPolicy": "Never", "containers": [container], **pod}}
    spec = {"backoffLimit": 0, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": spec}


def test_a_right_manifest_has_no_problem() -> None:
    assert problems(job()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"containerz": []}, "Job.spec.template.spec: no such key 'containerz'"),
        ({"enableServiceLinks": "no"}, "Job.spec.template.spec.enableServiceLinks: 'no' is"),
        ({"terminationGracePeriodSeconds": True}, "terminationGracePeriodSeconds: True is not int"),
        ({"containers": {}}, "Job.spec.template.spec.containers: {} is not a list"),
        ({"containers": [{"image": "i"}]}, "containers[0]: Invalid value for `name`"),
        ({"nodeSelector": {"gpu": 1}}, "Job.spec.template.spec.nodeSelector.gpu: 1 is not str"),
    ],
)
def test_a_wrong_manifest_is_told_where(wrong: dict[str, Any], message: str) -> None:
    (found,) = problems(job(**wrong))
    assert message in found
