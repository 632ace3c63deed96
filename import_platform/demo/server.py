"""The demo's PostgreSQL as long as somebody uses it: during the demo, and while `import-platform ui` is open."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from import_platform.demo import source
from import_platform.demo.place import DSN_VARIABLE, SOURCE, DemoPlace, demo_place, environment, held
from import_platform.demo.postgres_server import PostgresServer
from import_platform.errors import ConfigError
from import_platform.resources.project import BUILT_IN_DEFS

_END_SECONDS = 10.0


@contextmanager
def running_source(place: DemoPlace, *, fresh: bool = False) -> Iterator[str]:
    """The DSN of the demo's database while the block runs; it is also this process's NYC_DSN.

    What a killed demo left behind is ended and removed; `fresh` removes the data of an earlier demo in any case.

    Raises:
        ConfigError: another process uses it, or the server does not start.
    """
    with held(place), PostgresServer() as server:
        if fresh:
            shutil.rmtree(place.postgres_folder, ignore_errors=True)
        try:
            dsn = server.start(place.postgres_folder / "data")
        except ConfigError:
            if server.data_dir is None or not (server.data_dir / "PG_VERSION").exists():
                raise
            _end_leftover(server.data_dir)
            if fresh:
                shutil.rmtree(server.data_dir)
            dsn = server.start(place.postgres_folder / "data")
        with environment({DSN_VARIABLE: dsn}):
            yield dsn


@contextmanager
def source_for_ui(place: DemoPlace | None = None) -> Iterator[int | None]:
    """For `ui`, which stays open: as `source_for_commands`, and some flights change at the source just before.

    Yields how many, so that a sync from the UI finds something to do; None where no demo was run.
    """
    with source_for_commands(place) as dsn:
        yield None if dsn is None else source.touch_flights(dsn)


@contextmanager
def source_for_commands(place: DemoPlace | None = None, *, selection: Sequence[str] = ()) -> Iterator[str | None]:
    """For commands that read declared sources: beside the project's own ones the demo's is declared, and its database
    runs while the block does. Yields the DSN.

    Where no demo was run, where IMPORT_PLATFORM_DEFS or NYC_DSN say otherwise, or where `selection` names other sources
    only, nothing is started or changed: yields None.

    Raises:
        ConfigError: another process uses the database, such as an open `import-platform ui`. An empty `selection` goes
            on without it: the demo is then one source among others, and says itself that its variable is not set.
    """
    place = place or demo_place()
    if selection and not any(name.split("/")[0] == SOURCE for name in selection):
        yield None
        return
    declared = (place.defs_folder / SOURCE / "defs.yaml").exists()
    if not declared or DSN_VARIABLE in os.environ or "IMPORT_PLATFORM_DEFS" in os.environ:
        yield None
        return
    folders = f"{BUILT_IN_DEFS}:{place.defs_folder}"
    with contextlib.ExitStack() as stack:
        try:
            dsn = stack.enter_context(running_source(place))
        except ConfigError:
            if selection:
                raise
            yield None
            return
        stack.enter_context(environment({"IMPORT_PLATFORM_DEFS": folders}))
        yield dsn


def _end_leftover(data_dir: Path) -> None:
    """Ends a server that outlived both its demo and its supervisor, told by the data folder it serves."""
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
        process = psutil.Process(int((data_dir / "postmaster.pid").read_text().splitlines()[0]))
        if str(data_dir) in process.cmdline():
            process.send_signal(signal.SIGINT)  # a fast shutdown: clients are dropped, data are kept
            try:
                process.wait(_END_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(_END_SECONDS)
