"""Deterministic rows, a batch at a time: the same row number and version always give the same row."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from bench.cases import Base, Shape

Numbers = np.ndarray[Any, np.dtype[Any]]

FIRST_DAY_MICROS = 1_735_689_600_000_000  # 2025-01-01 UTC
DAY_MICROS = 86_400_000_000
BATCH_ROWS = {Shape.NARROW: 250_000, Shape.UUID: 250_000, Shape.WIDE: 1_000}

_STAMP = pa.timestamp("us", tz="UTC")
_HEX = np.frombuffer(b"".join(b"%02x" % i for i in range(256)), dtype="S2")
_STATUS = pa.array(["new", "paid", "packed", "shipped", "delivered", "returned"])
_WORDS = ("amber", "anchor", "arrow", "basket", "birch", "bottle", "bridge", "candle", "canvas", "cedar", "copper",
          "coral", "cotton", "ember", "fabric", "feather", "ferry", "forest", "garden", "glacier", "harbor", "hazel",
          "island", "ivory", "jacket", "kettle", "ladder", "lantern")  # fmt: skip
_SENTENCES = 100_000
_SEGMENTS = 30_000
_SEGMENTS_PER_ROW = 17
COMMON = [pa.field("created_at", _STAMP), pa.field("updated_at", _STAMP)]
_BY_SHAPE = {
    Shape.NARROW: [
        pa.field("account_id", pa.int32()),
        pa.field("visitor", pa.int64()),
        pa.field("score", pa.float64()),
        pa.field("status", pa.string()),
        pa.field("token", pa.string()),
        pa.field("note", pa.string()),
        pa.field("active", pa.bool_()),
    ],
    Shape.WIDE: [pa.field("kind", pa.string()), pa.field("payload", pa.string())],
}
_BY_SHAPE[Shape.UUID] = _BY_SHAPE[Shape.NARROW]


def schema(shape: Shape) -> pa.Schema:
    key = pa.field("id", pa.string() if shape is Shape.UUID else pa.int64())
    return pa.schema([key, *COMMON, *_BY_SHAPE[shape]])


def rows(base: Base, numbers: Numbers, *, version: int) -> pa.RecordBatch:
    """The rows of these numbers. Key and `created_at` follow from the number, everything else from the version too."""
    count = len(numbers)
    dice = np.random.Generator(np.random.PCG64([version, int(numbers[0]), count]))
    created = _created(base, numbers)
    updated = created + dice.integers(0, 30 * DAY_MICROS, count)
    key = _uuids(numbers) if base.shape is Shape.UUID else pa.array(numbers, pa.int64())
    stamps = [pa.array(created, pa.int64()).cast(_STAMP), pa.array(updated, pa.int64()).cast(_STAMP)]
    values = _wide(dice, count) if base.shape is Shape.WIDE else _narrow(dice, count)
    return pa.RecordBatch.from_arrays([key, *stamps, *values], schema=schema(base.shape))


def leaf(base: Base, number: int) -> str:
    """The leaf of a row number: its day, or `all`."""
    if not base.leaf_per_file:
        return "all"
    return str(np.datetime64(int(_created(base, np.array([number]))[0]), "us").astype("datetime64[D]"))


def _created(base: Base, numbers: Numbers) -> Numbers:
    """Micros since 1970 that put the rows of a file evenly into its day."""
    days, at = numbers // base.rows_per_file, numbers % base.rows_per_file
    return FIRST_DAY_MICROS + days * DAY_MICROS + at * (DAY_MICROS // base.rows_per_file)


def _narrow(dice: np.random.Generator, count: int) -> list[pa.Array]:
    return [
        pa.array(dice.integers(0, 1_000_000, count, dtype=np.int32)),
        pa.array(dice.integers(0, 1 << 62, count)),
        pa.array(dice.random(count)),
        _STATUS.take(pa.array(np.minimum(dice.geometric(0.4, count) - 1, len(_STATUS) - 1))),
        _hex(dice.bytes(16 * count), 32),
        _sentences().take(pa.array(dice.integers(0, _SENTENCES, count))),
        pa.array(dice.random(count) < 0.9),
    ]


def _wide(dice: np.random.Generator, count: int) -> list[pa.Array]:
    picks = dice.integers(0, _SEGMENTS, (count, _SEGMENTS_PER_ROW))
    pool = _segments()
    payload = ["[" + ",".join([pool[i] for i in row]) + "]" for row in picks.tolist()]
    return [_STATUS.take(pa.array(dice.integers(0, len(_STATUS), count))), pa.array(payload)]


@cache
def _sentences() -> pa.Array:
    dice = np.random.Generator(np.random.PCG64(7))
    picks = dice.integers(0, len(_WORDS), (_SENTENCES, 8))
    return pa.array([" ".join([_WORDS[i] for i in row]) for row in picks.tolist()])


@cache
def _segments() -> list[str]:
    """JSON objects of about 580 characters of which about 160 are random."""
    dice = np.random.Generator(np.random.PCG64(11))
    noise = [dice.bytes(78).hex() for _ in range(_SEGMENTS)]
    return [_segment(text) for text in noise]


def _segment(noise: str) -> str:
    return (
        f'{{"event":"product_viewed","session_id":"{noise[:32]}","properties":{{"current_url":"https://shop.example'
        f'.com/catalogue/items/{noise[32:40]}","referrer":"https://www.example.com/search","browser":"Firefox",'
        f'"operating_system":"Linux","screen_width":1920,"screen_height":1080,"library":"web","feature_flags":'
        f'{{"new_checkout":true,"dark_mode":false,"recommendations":"variant_b"}},"value":{int(noise[40:44], 16)},'
        f'"currency":"EUR","device_id":"{noise[44:60]}"}},"context":{{"ip":"10.0.0.1","locale":"en-GB",'
        f'"timezone":"Europe/London"}},"request_id":"{noise[60:]}"}}'
    )


def _hex(data: bytes, width: int) -> pa.Array:
    text = _HEX[np.frombuffer(data, dtype=np.uint8)].tobytes()
    offsets = np.arange(0, len(text) + 1, width, dtype=np.int32)
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text))


def _uuids(numbers: Numbers) -> pa.Array:
    """Text of a 128-bit mix of each number, in the usual form."""
    return uuid_text(mixed(numbers.astype(np.uint64)), mixed(numbers.astype(np.uint64) + np.uint64(1 << 40)))


def uuid_text(high: Numbers, low: Numbers) -> pa.Array:
    """UUIDs of two 64-bit words each, whose bytes come in the order of memory."""
    digits = _HEX[np.stack([high, low], axis=1).view(np.uint8)].view("S1").reshape(len(high), 32)
    text = np.full((len(high), 36), b"-", dtype="S1")
    for at, start, stop in ((0, 0, 8), (9, 8, 12), (14, 12, 16), (19, 16, 20), (24, 20, 32)):
        text[:, at : at + stop - start] = digits[:, start:stop]
    offsets = np.arange(0, text.size + 1, 36, dtype=np.int32)
    return pa.StringArray.from_buffers(len(high), pa.py_buffer(offsets), pa.py_buffer(text.tobytes()))


def mixed(x: Numbers) -> Numbers:
    """splitmix64, a bijection: equal numbers and only they give equal keys."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
