"""Writes invented court records and later corrections of them as XML: python write.py FOLDER RECORDS."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from pathlib import Path

ROLES = ("plaintiff", "defendant", "witness", "counsel")


def record(number: int, edition: int, dice: random.Random) -> str:
    """A whole case with its parties; each edition has others."""
    parties = "".join(
        f'<c:party role="{dice.choice(ROLES)}"><c:name>Party {dice.randrange(10**6)}</c:name></c:party>'
        for _ in range(dice.randint(0, 4))
    )
    title = f"<c:title>Matter {number}, edition {edition}</c:title>"
    return f'<c:case id="{number}" status="open">{title}<c:parties>{parties}</c:parties></c:case>'


def deletion(number: int) -> str:
    return f'<c:case id="{number}" status="deleted"/>'


def write(path: Path, records: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "\n".join(records)
    path.write_text(f'<?xml version="1.0"?>\n<c:cases xmlns:c="urn:example:court-records">\n{body}\n</c:cases>\n')


def write_all(folder: Path, records: int) -> None:
    """Two days: every record, then every third once more in another edition, and every seventh deleted."""
    dice = random.Random(1)
    write(folder / "docket-2025-01-01.xml", (record(number, 1, dice) for number in range(records)))
    corrected = (
        deletion(number) if number % 7 == 0 else record(number, 2, dice)
        for number in range(records)
        if number % 7 == 0 or number % 3 == 0
    )
    write(folder / "docket-2025-01-02.xml", corrected)


if __name__ == "__main__":
    write_all(Path(sys.argv[1]), int(sys.argv[2]))
