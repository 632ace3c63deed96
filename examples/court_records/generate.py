"""Writes invented court records as namespaced, nested XML of any size: python generate.py FOLDER MEGABYTES [FILES]."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

ROLES = ("plaintiff", "defendant", "witness", "counsel")
WORDS = ["motion", "order", "appeal", "notice", "brief", "hearing", "ruling", "docket", "filing", "writ"]
GIVEN = ["Ada", "Ben", "Cleo", "Dov", "Ema", "Finn", "Gil", "Hana", "Ivo", "Jun"]
SURNAMES = ["Archer", "Baker", "Cooper", "Dyer", "Fisher", "Gardner", "Hunter", "Mason", "Potter", "Weaver"]
TOWNS = ["Northford", "Eastmere", "Southwick", "Westbrook", "Millbank"]


def record(number: int, dice: random.Random) -> str:
    """One case, about 5 kB, indented as such documents are."""
    roll = dice.random
    return f"""  <c:case id="{number}" status="{"open" if roll() < 0.3 else "closed"}">
    <c:caseTitleText>Matter {number} of {_words(dice, 3)}</c:caseTitleText>
    <c:caseFiling>
      <c:filedDate>{_day(dice)}</c:filedDate>
      <c:caseCategoryText>{dice.choice(WORDS)}</c:caseCategoryText>
    </c:caseFiling>
    <c:caseCourt code="K{number % 37:02d}"><c:courtName>Court of {dice.choice(TOWNS)}</c:courtName></c:caseCourt>
    <c:caseSummaryText>{_words(dice, 25)}</c:caseSummaryText>
{_many(dice, 2, 2, lambda _: f"    <c:keyword>{dice.choice(WORDS)}</c:keyword>")}
    <c:parties>
{_many(dice, 1, 4, lambda i: _party(i, dice))}
    </c:parties>
    <c:charges>
{_many(dice, 0, 2, lambda i: _charge(i, dice))}
    </c:charges>
    <c:docket>
{_many(dice, 1, 5, lambda i: _entry(i, dice))}
    </c:docket>
    <c:hearings>
{_many(dice, 0, 3, lambda i: _hearing(i, dice))}
    </c:hearings>
    <c:judgments>
{_many(dice, 0, 1, lambda i: _judgment(i, dice))}
    </c:judgments>
    <c:fees>
{_many(dice, 0, 3, lambda i: _fee(i, dice))}
    </c:fees>
  </c:case>
"""


def _party(i: int, dice: random.Random) -> str:
    attorney = f"""
        <c:attorney barNumber="B{dice.randrange(10**5):05d}">
          <c:attorneyName>{dice.choice(GIVEN)} {dice.choice(SURNAMES)}</c:attorneyName>
          <c:attorneyFirm>{dice.choice(SURNAMES)} and {dice.choice(SURNAMES)}</c:attorneyFirm>
        </c:attorney>"""
    middle = f"\n          <c:personMiddleName>{dice.choice(GIVEN)}</c:personMiddleName>"
    return f"""      <c:party role="{dice.choice(ROLES)}" no="{i}">
        <c:personName>
          <c:personGivenName>{dice.choice(GIVEN)}</c:personGivenName>{middle if dice.random() < 0.4 else ""}
          <c:personSurName>{dice.choice(SURNAMES)}</c:personSurName>
        </c:personName>
        <c:personBirthDate>{1940 + dice.randrange(65)}-{dice.randint(1, 12):02d}-{dice.randint(1, 28):02d}</c:personBirthDate>
        <c:contactMailingAddress>
          <c:locationStreet>{dice.randrange(1, 900)} {dice.choice(SURNAMES)} Street</c:locationStreet>
          <c:locationCity>{dice.choice(TOWNS)}</c:locationCity>
          <c:locationPostalCode>{dice.randrange(10**5):05d}</c:locationPostalCode>
        </c:contactMailingAddress>{attorney if dice.random() < 0.5 else ""}
      </c:party>"""


def _charge(i: int, dice: random.Random) -> str:
    sentence = f"""
        <c:sentence>
          <c:sentenceMonths>{dice.randrange(120)}</c:sentenceMonths>
          <c:sentenceConditionText>{_words(dice, 8)}</c:sentenceConditionText>
        </c:sentence>"""
    return f"""      <c:charge no="{i}">
        <c:chargeStatuteCode>{dice.randrange(100, 999)}.{dice.randrange(10)}</c:chargeStatuteCode>
        <c:chargeDescriptionText>{_words(dice, 6)}</c:chargeDescriptionText>
        <c:chargeSeverityText>{dice.choice(("felony", "misdemeanor"))}</c:chargeSeverityText>{sentence}
      </c:charge>"""


def _entry(i: int, dice: random.Random) -> str:
    document = f"""
        <c:document id="D{dice.randrange(10**9)}">
          <c:documentTitleText>{_words(dice, 5)}</c:documentTitleText>
          <c:documentPages>{dice.randrange(1, 200)}</c:documentPages>
        </c:document>"""
    return f"""      <c:docketEntry no="{i}">
        <c:docketEntryDate>{_day(dice)}</c:docketEntryDate>
        <c:docketEntryText>{_words(dice, dice.randint(5, 40))}</c:docketEntryText>
        <c:docketEntryFiledBy>{dice.choice(SURNAMES)}</c:docketEntryFiledBy>{document if dice.random() < 0.5 else ""}
      </c:docketEntry>"""


def _hearing(i: int, dice: random.Random) -> str:
    return f"""      <c:hearing no="{i}">
        <c:hearingStart>{_day(dice)}T{dice.randint(8, 17):02d}:{dice.choice((0, 15, 30, 45)):02d}:00Z</c:hearingStart>
        <c:hearingRoom>{dice.randint(1, 40)}</c:hearingRoom>
        <c:hearingJudge>{dice.choice(SURNAMES)}</c:hearingJudge>
        <c:hearingOutcomeText>{_words(dice, 5)}</c:hearingOutcomeText>
      </c:hearing>"""


def _judgment(i: int, dice: random.Random) -> str:
    return f"""      <c:judgment no="{i}">
        <c:judgmentDate>{_day(dice)}</c:judgmentDate>
        <c:judgmentAmount>{dice.randrange(10**7) / 100:.2f}</c:judgmentAmount>
        <c:judgmentText>{_words(dice, 15)}</c:judgmentText>
      </c:judgment>"""


def _fee(i: int, dice: random.Random) -> str:
    return f"""      <c:fee no="{i}">
        <c:feeAmount>{dice.randrange(10**5) / 100:.2f}</c:feeAmount>
        <c:feeDueDate>{_day(dice)}</c:feeDueDate>
        <c:feeReasonText>{_words(dice, 3)}</c:feeReasonText>
      </c:fee>"""


def _many(dice: random.Random, least: int, most: int, made: Callable[[int], str]) -> str:
    return "\n".join(made(i) for i in range(1, dice.randint(least, most) + 1))


def _words(dice: random.Random, count: int) -> str:
    return " ".join(dice.choices(WORDS, k=count))


def _day(dice: random.Random) -> str:
    return f"2025-{dice.randint(1, 12):02d}-{dice.randint(1, 28):02d}"


def write(folder: Path, megabytes: float, files: int = 1) -> None:
    """The same files for the same numbers, every time."""
    folder.mkdir(parents=True, exist_ok=True)
    dice, number = random.Random(1), 0
    for index in range(files):
        with (folder / f"cases-{index:04d}.xml").open("w") as out:
            out.write('<?xml version="1.0" encoding="UTF-8"?>\n<c:cases xmlns:c="urn:example:court-records">\n')
            written = 0
            while written < megabytes * 1e6 / files:
                number += 1
                written += out.write(record(number, dice))
            out.write("</c:cases>\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
