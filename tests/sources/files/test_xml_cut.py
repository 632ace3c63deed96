"""A stream cut into records ends alike whether it comes at once, where every tag is looked at, or bit by bit, where
records that simply follow each other are taken many at a time."""

from __future__ import annotations

from io import BytesIO

import pytest

from import_platform.sources.files import xml_cut
from import_platform.sources.files.xml_cut import Broken, Cutter, Group

PLAIN = b"<c><n>1</n></c>"
BETWEEN = {
    "plain": PLAIN,
    "self-closing": b"<c/>",
    "attributes": b'<c a="1">x</c >',
    "holding another": b"<c><n>2</n><c>inner</c></c>",
    "holding two": b"<c><c>1</c> <c>2</c></c>",
    "holding a self-closing one": b"<c><n>2</n><c/></c>",
    "much white space": b" " * (2 * xml_cut._BEFORE_BYTES) + PLAIN,
    "a longer name inside": b"<c><cc>1</cc></c>",
}


def cut(data: bytes) -> list[tuple[int, int, bytes] | tuple[int, str, bytes]]:
    """Of each group the number of its first record, how many there are and their text without white space."""
    read = BytesIO(data).read
    told = []
    for found in Cutter("c", row_bytes_max=1 << 20).cut(read):
        if isinstance(found, Broken):
            told.append((found.number, found.reason, found.data))
        else:
            assert isinstance(found, Group)
            told.append((found.number, found.count, b"".join(found.data.split())))
    return told


def joined(told):
    """Groups that follow each other as one."""
    every: list = []
    for number, count, data in told:
        if every and isinstance(count, int) and isinstance(every[-1][1], int):
            first, before, text = every.pop()
            assert number == first + before, "numbers follow each other"
            every.append((first, before + count, text + data))
        else:
            every.append((number, count, data))
    return every


@pytest.mark.parametrize("odd", BETWEEN.values(), ids=BETWEEN.keys())
@pytest.mark.parametrize("read_bytes", [32, 64, 200])
def test_records_are_the_same_whether_many_are_taken_at_a_time_or_each_is_looked_at(monkeypatch, odd, read_bytes):
    data = b"<r>" + PLAIN * 40 + odd + PLAIN * 40 + odd + b"</r>"
    whole = joined(cut(data))
    assert sum(count for _, count, _ in whole) == 82
    monkeypatch.setattr(xml_cut, "READ_BYTES", read_bytes)
    assert joined(cut(data)) == whole
