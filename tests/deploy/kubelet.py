"""What Kubernetes makes of the variables of a container, for processes that stand for its pod on this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from import_platform.core.budget import parse_bytes

Secrets = Mapping[str, Mapping[str, str]]

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z0-9]+)\)")


def variables(container: dict[str, Any], secrets: Secrets) -> dict[str, str]:
    """In the order of the list: `$(NAME)` is an earlier variable, or stays as it is; `$$` is a dollar."""
    made: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        made.update(secrets[source["secretRef"]["name"]])
    for each in container["env"]:
        made[each["name"]] = _expanded(each["value"], made) if "value" in each else _taken(each, container, secrets)
    return made


def _expanded(text: str, made: Mapping[str, str]) -> str:
    return _REFERENCE.sub(lambda found: made.get(found[1], found[0]) if found[1] else "$", text)


def _taken(each: dict[str, Any], container: dict[str, Any], secrets: Secrets) -> str:
    source = each["valueFrom"]
    if "secretKeyRef" in source:
        return secrets[source["secretKeyRef"]["name"]][source["secretKeyRef"]["key"]]
    kind, _, resource = source["resourceFieldRef"]["resource"].partition(".")
    return str(parse_bytes(container["resources"][kind][resource], name=resource))
