"""The next page fetched while the last one is worked on: the source and this process each have a core."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from import_platform.sources.protocol import Page


def read_ahead(pages: Iterator[Page], *, page_bytes: int) -> Iterator[Page]:
    """The same pages in the same order; one of them is held besides the one that is worked on.

    Behind a page of more than `page_bytes`, one wide row, nothing is fetched ahead, so wide rows are held one by one.
    An error comes where its page would have come. Closing waits for the fetch that is under way.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as worker:
        coming: Future[Page | None] = worker.submit(next, pages, None)
        try:
            while (page := coming.result()) is not None:
                ordinary = page.batch.nbytes <= page_bytes * 5 // 4
                if ordinary:
                    coming = worker.submit(next, pages, None)
                yield page
                del page
                if not ordinary:
                    coming = worker.submit(next, pages, None)
        finally:
            wait([coming])
            close = getattr(pages, "close", None)
            if close is not None:
                close()
