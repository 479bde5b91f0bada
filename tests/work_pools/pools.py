"""What Prefect's workers make of our templates and deployments."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import yaml
from prefect.client.schemas.objects import FlowRun

ROOT = Path(__file__).resolve().parents[2]


def read(pool: str) -> dict[str, Any]:
    return json.loads((ROOT / "work_pools" / f"{pool}.json").read_text())


def deployed_variables() -> dict[str, Any]:
    """Job variables of our deployments."""
    definition = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    found = [deployment["work_pool"]["job_variables"] for deployment in definition["deployments"]]
    assert found
    assert all(one == found[0] for one in found)
    return found[0]


def configuration(kind: Any, pool: str, **variables: Any) -> Any:
    """What the worker makes of our template for a run of one of our deployments."""
    values = {**deployed_variables(), **variables}
    building = kind.from_template_and_values(read(pool), values, client=SimpleNamespace())
    made = asyncio.run(building)
    made.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="full"))
    return made
