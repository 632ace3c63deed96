"""Answers as they came, made values of the declared output columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from import_platform.core.enrichment import Answer, Output, Refusal
from import_platform.sources.json.typing import JsonColumn, convert


def shaped(answers: Sequence[Any], outputs: Sequence[Output]) -> list[Answer]:
    """None, an empty list and values that an answer lacks are NULL. A value that its column cannot hold, an answer
    that is neither object nor list, and an object with `error` alone fail their row and no other."""
    refused = [_refused(answer) for answer in answers]
    rows = [
        {output.name: at_path(answer, output.path) if refusal is None else None for output in outputs}
        for answer, refusal in zip(answers, refused, strict=True)
    ]
    found = convert(rows, [JsonColumn(output.name, output.type, (output.name,), fixed=True) for output in outputs])
    values = zip(*(array.to_pylist() for array in found.arrays), strict=True)
    return [
        refusal or _misfit(found.misfits.get(position)) or tuple(row)
        for position, (refusal, row) in enumerate(zip(refused, values, strict=True))
    ]


def at_path(value: Any, path: Sequence[str]) -> Any:
    """Where a path leads in JSON; None where it leads nowhere."""
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list | tuple) and step.isdecimal():
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return value


def _refused(answer: Any) -> Refusal | None:
    if answer is None or isinstance(answer, list | tuple):
        return None
    if not isinstance(answer, Mapping):
        return Refusal("the answer for this row is no object")
    if set(answer) == {"error"} and answer["error"] is not None:
        return Refusal("the answer for this row is an error")
    return None


def _misfit(found: tuple[str, str] | None) -> Refusal | None:
    return None if found is None else Refusal(f"{found[0]}: {found[1]}")
