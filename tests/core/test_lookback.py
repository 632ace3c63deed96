"""How far behind a cursor a sync reads again."""

from __future__ import annotations

import pyarrow as pa
import pytest

from import_platform.core.cursor import looked_back
from import_platform.errors import ConfigError

TIME = pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("value", "by", "dtype", "expected"),
    [
        ("2024-03-01T00:30:00.000001Z", "1h", TIME, "2024-02-29T23:30:00.000001Z"),
        ("2024-03-01T00:30:00.000001Z", "2d", TIME, "2024-02-28T00:30:00.000001Z"),
        ("0001-01-01T01:00:00.000000Z", "3h", TIME, "0001-01-01T00:00:00.000000Z"),
        ("2024-03-01", "2d", pa.date32(), "2024-02-28"),
        ("2024-03-01", "1h", pa.date32(), "2024-02-29"),
        ("5", "10", pa.int64(), "-5"),
        ("5.25", "5", pa.decimal128(10, 2), "0.25"),
    ],
)
def test_values_of_every_countable_type_go_back(value: str, by: str, dtype: pa.DataType, expected: str) -> None:
    assert looked_back(value, by, dtype) == expected


@pytest.mark.parametrize(
    ("value", "by", "dtype"), [("5", "1h", pa.int64()), ("2024-03-01", "7", pa.date32()), ("abc", "1h", pa.string())]
)
def test_a_lookback_of_another_kind_is_refused(value: str, by: str, dtype: pa.DataType) -> None:
    with pytest.raises(ConfigError, match="lookback"):
        looked_back(value, by, dtype)
