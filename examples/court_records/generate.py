"""Writes invented court records as namespaced, nested XML of any size: python generate.py FOLDER MEGABYTES [FILES]."""

from __future__ import annotations

import random
import sys
from pathlib import Path

ROLES = ("plaintiff", "defendant", "witness", "counsel")
WORDS = ["motion", "order", "appeal", "notice", "brief", "hearing", "ruling", "docket", "filing", "writ"]


def record(number: int, dice: random.Random) -> str:
    parties = "".join(
        f'<c:party role="{dice.choice(ROLES)}" no="{i}"><c:name>Party {dice.randrange(10**6)}</c:name></c:party>'
        for i in range(dice.randint(1, 6))
    )
    events = "".join(
        f'<c:event at="2025-{dice.randint(1, 12):02d}-{dice.randint(1, 28):02d}">'
        f"<c:what>{' '.join(dice.choices(WORDS, k=dice.randint(2, 12)))}</c:what></c:event>"
        for _ in range(dice.randint(0, 8))
    )
    return (
        f'<c:case id="{number}"><c:title>Matter {number}</c:title><c:court code="K{number % 37:02d}"/>'
        f"<c:keyword>{dice.choice(WORDS)}</c:keyword><c:keyword>{dice.choice(WORDS)}</c:keyword>"
        f"<c:parties>{parties}</c:parties><c:events>{events}</c:events></c:case>\n"
    )


def write(folder: Path, megabytes: float, files: int = 1) -> None:
    """The same files for the same numbers, every time."""
    folder.mkdir(parents=True, exist_ok=True)
    dice, number = random.Random(1), 0
    for index in range(files):
        with (folder / f"cases-{index:04d}.xml").open("w") as out:
            out.write('<?xml version="1.0" encoding="UTF-8"?>\n<c:cases xmlns:c="urn:example:court-records">\n')
            while out.tell() < megabytes * 1e6 / files:
                number += 1
                out.write(record(number, dice))
            out.write("</c:cases>\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
