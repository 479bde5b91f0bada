"""Checks manifests against the Kubernetes API as the installed client library describes it.

Stricter than a cluster with default settings: an unknown key is a problem, not a warning.
"""

import re
from typing import Any

from kubernetes_asyncio.client import models

PLAIN = {"str": str, "int": int, "float": (int, float), "bool": bool, "datetime": str}


def model_name(document: dict[str, Any]) -> str:
    """Name of the client's class for a document, such as V1Job for batch/v1, Job."""
    version = document["apiVersion"].rpartition("/")[2]
    return f"{version[0].upper()}{version[1:]}{document['kind']}"


def problems(document: dict[str, Any]) -> list[str]:
    """Everything in a manifest that the API does not know, misses or types differently."""
    return _check(document, model_name(document), document["kind"])


def _check(value: Any, kind: str, path: str) -> list[str]:
    if path.endswith((".limits", ".requests")):  # quantities may be numbers, which models omit
        value = {key: str(amount) for key, amount in value.items()}
    if kind == "object":  # IntOrString and the like
        return []
    if kind in PLAIN:
        # To Python True is an int, to Kubernetes it is not.
        right = isinstance(value, PLAIN[kind]) and (kind == "bool" or not isinstance(value, bool))
        return [] if right else [f"{path}: {value!r} is not {kind}"]
    if match := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            return [f"{path}: {value!r} is not a list"]
        return [
            found
            for index, entry in enumerate(value)
            for found in _check(entry, match[1], f"{path}[{index}]")
        ]
    if not isinstance(value, dict):
        return [f"{path}: {value!r} is not a mapping"]
    if match := re.fullmatch(r"dict\(str, (.+)\)", kind):
        return [
            found
            for key, entry in value.items()
            for found in _check(entry, match[1], f"{path}.{key}")
        ]
    return _check_model(value, getattr(models, kind), path)


def _check_model(value: dict[str, Any], model: Any, path: str) -> list[str]:
    attributes = {key: name for name, key in model.attribute_map.items()}
    found = [f"{path}: no such key {key!r}" for key in value if key not in attributes]
    known = {attributes[key]: entry for key, entry in value.items() if key in attributes}
    try:
        model(**known)
    except ValueError as error:  # what is required and absent
        found.append(f"{path}: {error}")
    for name, entry in known.items():
        key = model.attribute_map[name]
        found += _check(entry, model.openapi_types[name], f"{path}.{key}")
    return found
