"""Graphs and plans as the dictionaries of their files (docs/formats.md)."""

from __future__ import annotations

import json
import os
from typing import Any

from opweave.run.errors import ProgramError


def document(value: Any, kind: str) -> dict[str, Any]:
    """The content of *value*: a dictionary, JSON text, the path of a file, or anything with `to_json()`.

    Raises ProgramError if it is no opweave document of this kind ("graph", "plan", "cluster").
    """
    source = kind
    if hasattr(value, "to_json"):
        value = value.to_json()
    if isinstance(value, os.PathLike) or (isinstance(value, str) and not value.lstrip().startswith("{")):
        source = os.fspath(value)
        try:
            with open(value, encoding="utf-8") as file:
                value = file.read()
        except OSError as error:
            raise ProgramError(f"{source}: {error.strerror}") from error
    if isinstance(value, (str, bytes)):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ProgramError(f"{source}: {error}") from error
    if not isinstance(value, dict) or value.get("format") != f"opweave.{kind}":
        found = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise ProgramError(f'{source}: format is {found!r}, expected "opweave.{kind}"')
    return value


def training(graph: dict[str, Any], plan: dict[str, Any]) -> tuple[int, list[int]]:
    """Number of microbatches, and the replica of each."""
    settings = plan.get("settings", {}).get("training") or graph.get("training", {})
    microbatches = settings.get("microbatches", 1)
    replicas = settings.get("replicas", 1)
    named = settings.get("replica_of_microbatch")
    return microbatches, named or [b * replicas // microbatches for b in range(microbatches)]


def device_names(plan: dict[str, Any]) -> list[str]:
    """Devices of the plan's cluster in their order there."""
    listed = [entry["device"] for entry in plan.get("statistics", {}).get("devices", [])]
    if listed:
        return listed
    return list(dict.fromkeys(name for task in plan["tasks"] for name in task["devices"]))
