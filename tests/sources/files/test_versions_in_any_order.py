"""Files put, touched and read again, rows lost and replayed, in random orders: the tables always are what their files say."""

import os
import random

import pytest
from deltalake import DeltaTable

from import_platform.pipeline.replay import replay_rejected
from import_platform.pipeline.sync import read_files_again

DELETE = {"path": "@op", "value": "delete"}
KEYS = range(1, 9)


class Docket:
    """What was put, and what must be in the lake for it; numbers that are none are set apart until `is_loose`."""

    def __init__(self, court, dice):
        self.records = court(delete_when=DELETE, columns={"pages": {"path": "@pages", "type": "bigint"}})
        self.records.tables[1]["columns"]["age"] = {"path": "@age", "type": "bigint"}
        self.dice = dice
        self.put = {}
        self.is_loose = False

    def add(self):
        name = f"{self.dice.randrange(1000):03}.xml"
        if name not in self.put:
            self.put[name] = [self._record(key, name) for key in self.dice.choices(KEYS, k=5)]
            self.records.put(name, *(text for *_, text in self.put[name]))
        self.records.sync_all()

    def touch(self):
        path = self.records.folder / self.dice.choice(sorted(self.put))
        at = self.dice.randrange(10**9)
        os.utime(path, (at, at))
        self.records.sync_all()

    def again(self):
        names = self.dice.sample(sorted(self.put), k=self.dice.randint(1, len(self.put)))
        for table in ("cases", "parties"):
            read_files_again(self.records.context(table), [f"*/{name}" for name in names])

    def lose(self):
        gone = ", ".join(map(str, self.dice.sample(KEYS, k=3)))
        for table, key in (("cases", "id"), ("parties", "case_id")):
            DeltaTable(self.records.lake.table_uri("s", table)).delete(f"{key} IN ({gone})")
            read_files_again(self.records.context(table), ["*"])

    def replay(self):
        for table in ("cases", "parties"):
            replay_rejected(self.records.context(table))

    def loosen(self):
        self.records.tables[0]["columns"]["pages"]["type"] = "text"
        self.records.tables[1]["columns"]["age"]["type"] = "text"
        self.is_loose = True
        self.replay()

    def check(self):
        ordered = [record for name in sorted(self.put) for record in self.put[name]]
        cases = {key: row for key, row, *_ in ordered if row is None or self._fits(row[2])}
        parties = {key: people for key, _, people, _ in ordered}
        assert self.records.rows("cases", "id", "title") == sorted(row[:2] for row in cases.values() if row)
        left = [(key, name) for key, people in parties.items() for name, age in people if self._fits(age)]
        assert self.records.parties == sorted(left)

    def _fits(self, text):
        return self.is_loose or text.isdigit()

    def _record(self, key, name):
        """Key, row (none: deleted), parties and text."""
        title, pages = f"{name}-{self.dice.randrange(10**6)}", self.dice.choice(["7", "7", "x"])
        people = [(f"{title}-{i}", self.dice.choice(["1", "1", "old"])) for i in range(self.dice.randrange(4))]
        inside = "".join(f'<party name="{name}" age="{age}"/>' for name, age in people)
        is_gone = self.dice.random() < 0.25
        op = ' op="delete"' if is_gone else ""
        text = f'<case id="{key}" pages="{1 if is_gone else pages}"{op}><title>{title}</title>{inside}</case>'
        return key, None if is_gone else (key, title, pages), [] if is_gone else people, text


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_in_whatever_order_the_lake_holds_the_latest_versions(court, seed):
    dice = random.Random(seed)
    docket = Docket(court, dice)
    docket.add()
    for _ in range(10):
        dice.choice([docket.add, docket.add, docket.touch, docket.again, docket.lose, docket.replay])()
        docket.check()
    docket.loosen()
    docket.check()
    for step in (docket.again, docket.touch, docket.lose, docket.add):
        step()
        docket.check()
