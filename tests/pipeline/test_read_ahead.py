"""Reading ahead changes when pages are fetched, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from import_platform.errors import SourceUnavailable
from import_platform.pipeline.read_ahead import read_ahead
from import_platform.sources.protocol import Page


def page(number: int, width: int = 10) -> Page:
    batch = pa.record_batch({"id": [number], "text": ["x" * width]})
    return Page(batch, {"after": number})


def numbers(pages: Iterator[Page]) -> list[int]:
    return [found.batch.column("id")[0].as_py() for found in pages]


def test_the_pages_are_the_same_and_in_order() -> None:
    assert numbers(read_ahead(iter([page(n) for n in range(20)]), page_bytes=100)) == list(range(20))
    assert numbers(read_ahead(iter([]), page_bytes=100)) == []


def test_an_error_comes_behind_the_pages_in_front_of_it() -> None:
    def pages() -> Iterator[Page]:
        yield page(1)
        yield page(2)
        raise SourceUnavailable("gone", remedy="Try again.")

    ahead = read_ahead(pages(), page_bytes=100)
    assert [next(ahead).token, next(ahead).token] == [{"after": 1}, {"after": 2}]
    with pytest.raises(SourceUnavailable):
        next(ahead)


def test_a_page_is_fetched_while_the_last_one_is_worked_on_unless_that_was_wide() -> None:
    fetched = [threading.Event() for _ in range(4)]

    def pages() -> Iterator[Page]:
        for number, width in enumerate((10, 1000, 10, 10)):
            fetched[number].set()
            yield page(number, width)

    ahead = read_ahead(pages(), page_bytes=100)
    next(ahead)
    assert fetched[1].wait(120)
    next(ahead)  # the wide one
    assert not fetched[2].wait(0.1)
    next(ahead)
    assert fetched[3].wait(120)
    ahead.close()


def test_closing_ends_the_read_after_the_fetch_under_way() -> None:
    closed: list[bool] = []

    def pages() -> Iterator[Page]:
        try:
            for number in range(100):
                yield page(number)
        finally:
            closed.append(True)

    ahead = read_ahead(pages(), page_bytes=100)
    next(ahead)
    ahead.close()
    assert closed == [True]
