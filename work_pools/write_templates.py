"""Write the base job templates of our work pools: Prefect's own defaults with our changes.

    python work_pools/write_templates.py

Run it after an upgrade of Prefect; `git diff` then shows what the upgrade changed.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Template = dict[str, Any]

FOLDER = Path(__file__).resolve().parent
IMAGE = "mal-pipeline:latest"
STORE = "/data/store"
# The image's entry point is `mal`; runs start with `prefect flow-run execute`.
ENTRYPOINT = ["/usr/bin/env"]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "MAL_STORE": STORE,
}

DOCKER_DEFAULTS = {
    "image": IMAGE,
    # Prefect pulls every image called `latest`; ours is built here and in no registry.
    "image_pull_policy": "IfNotPresent",
    "env": ENVIRONMENT,
    # Relative folders start at the worker's; the volumes are those of docker-compose.yml, so that
    # both share finished stages and downloads.
    "volumes": [
        "./data:/data/input:ro",
        "./runs:/app/runs",
        f"mal-pipeline_store:{STORE}",
        "mal-pipeline_cache:/home/mal/.cache",
    ],
    "container_create_kwargs": {
        "entrypoint": ENTRYPOINT,
        "init": True,
        # Data workers of PyTorch exchange batches through shared memory; 64 MB are too few.
        "shm_size": "2g",
    },
}

KUBERNETES_DEFAULTS = {
    "namespace": "mal",
    "image": IMAGE,
    "env": ENVIRONMENT,
    "cpu_request": "2",
    "memory_request": "8Gi",
    "memory_limit": "16Gi",
    "finished_job_ttl": 86400,
    # The image is several GB, and a node with a GPU may have to be started for it.
    "pod_watch_timeout_seconds": 1800,
}

KUBERNETES_VARIABLES = {
    "gpus": {
        "title": "GPUs",
        "description": "GPUs per run, as nvidia.com/gpu. Without a value the run asks for none.",
        "anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}],
        "default": None,
    },
    "shm_size": {
        "title": "Shared Memory",
        "description": "Size of /dev/shm; counts as memory of the container.",
        "type": "string",
        "default": "2Gi",
    },
    "data_claim": {
        "title": "Data Claim",
        "description": "Volume claim with images and annotations, read only at /data/input.",
        "type": "string",
        "default": "mal-data",
    },
    "store_claim": {
        "title": "Store Claim",
        "description": f"Volume claim for finished stages at {STORE}, and for downloads.",
        "type": "string",
        "default": "mal-store",
    },
    "runs_claim": {
        "title": "Runs Claim",
        "description": "Volume claim for reports and results at /app/runs.",
        "type": "string",
        "default": "mal-runs",
    },
}

POD = {
    # A training that is told to stop writes a checkpoint first.
    "terminationGracePeriodSeconds": 120,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        # Without it, every start of a pod walks through all files of a large store.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "automountServiceAccountToken": False,
    # Kubernetes would describe a service called `prefect` in variables that Prefect reads.
    "enableServiceLinks": False,
    "volumes": [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "{{ shm_size }}"}},
        {
            "name": "data",
            "persistentVolumeClaim": {"claimName": "{{ data_claim }}", "readOnly": True},
        },
        {"name": "store", "persistentVolumeClaim": {"claimName": "{{ store_claim }}"}},
        {"name": "runs", "persistentVolumeClaim": {"claimName": "{{ runs_claim }}"}},
    ],
}

CONTAINER = {
    "command": ENTRYPOINT,
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    "volumeMounts": [
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "data", "mountPath": "/data/input", "readOnly": True},
        {"name": "store", "mountPath": STORE, "subPath": "store"},
        {"name": "store", "mountPath": "/home/mal/.cache", "subPath": "cache"},
        {"name": "runs", "mountPath": "/app/runs"},
    ],
}


def _with_defaults(template: Template, defaults: Template) -> Template:
    changed = copy.deepcopy(template)
    for name, value in defaults.items():
        # KeyError: this version of Prefect has no such variable any more.
        changed["variables"]["properties"][name]["default"] = value
    return changed


def docker_template(default: Template) -> Template:
    """Our template of a Docker pool, made from Prefect's."""
    return _with_defaults(default, DOCKER_DEFAULTS)


def kubernetes_template(default: Template) -> Template:
    """Our template of a Kubernetes pool, made from Prefect's."""
    template = _with_defaults(default, KUBERNETES_DEFAULTS)
    template["variables"]["properties"].update(KUBERNETES_VARIABLES)
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    pod.update(POD)
    (container,) = pod["containers"]
    container.update(CONTAINER)
    container["resources"]["limits"]["nvidia.com/gpu"] = "{{ gpus }}"
    return template


def prefect_defaults() -> dict[str, Template]:
    """What the installed versions of Prefect's workers propose, by type of pool."""
    from prefect_docker.worker import DockerWorker
    from prefect_kubernetes.worker import KubernetesWorker

    workers = {"docker": DockerWorker, "kubernetes": KubernetesWorker}
    return {name: worker.get_default_base_job_template() for name, worker in workers.items()}


CHANGES: dict[str, Callable[[Template], Template]] = {
    "docker": docker_template,
    "kubernetes": kubernetes_template,
}


def rendered() -> dict[str, str]:
    """The content of each template's file, by type of pool."""
    defaults = prefect_defaults()
    return {
        name: json.dumps(change(defaults[name]), indent=2) + "\n"
        for name, change in CHANGES.items()
    }


if __name__ == "__main__":
    for name, text in rendered().items():
        (FOLDER / f"{name}.json").write_text(text)
