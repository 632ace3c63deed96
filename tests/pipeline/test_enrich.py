import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from import_platform.core.enrichment import Output
from import_platform.core.report import Status
from import_platform.core.table import DeclaredTable, SchemaPolicy, SyncMode
from import_platform.errors import ConfigError
from import_platform.io.lake import Lake
from import_platform.pipeline.context import TableContext
from import_platform.pipeline.enrich_missing import enrich_missing
from import_platform.pipeline.sync import sync_table
from import_platform.sources.files.connector import FilesSource
from tests.pipeline.enriched import Geocoder, enrichment
from tests.pipeline.killed_enrich import table as killed_table
from tests.pipeline.synced_table import ROOMY, SyncedTable, rows

Make = Callable[..., SyncedTable]


@pytest.fixture
def geocoder() -> Iterator[Geocoder]:
    with Geocoder() as server:
        yield server


def asking(synced: Make, call: dict[str, Any], found: pa.Table | None = None, **options: Any) -> SyncedTable:
    one = enrichment(call, **options)
    return synced(rows(range(25)) if found is None else found, declared={"enrich": (one,)})


def told(table: SyncedTable) -> pl.DataFrame:
    return table.lake_frame().sort("id").select("text", "lat", "town", "geo_status", "geo_error")


def test_new_rows_get_their_columns_from_an_endpoint(synced: Make, geocoder: Geocoder) -> None:
    table = asking(synced, {"url": geocoder.url})
    assert table.sync().status is Status.DONE
    assert told(table).row(24) == ("x24", 3.0, "X24", "ok", None)
    assert [len(asked.body) for asked in geocoder.asked] == [10, 10, 5]


def test_a_key_is_asked_for_once_for_good(synced: Make, geocoder: Geocoder) -> None:
    table = asking(synced, {"url": geocoder.url})
    table.sync()
    changed = rows(range(20, 30), day=3)
    table.sync(pa.concat_tables([table.source.rows.slice(0, 20), changed]))
    assert Counter(geocoder.texts) == {f"x{i}": 1 for i in range(30)}
    assert told(table)["geo_status"].to_list() == ["ok"] * 30
    table.sync(full_refresh=True)
    assert len(geocoder.texts) == 30


def test_only_the_row_to_blame_fails_and_is_asked_for_again(synced: Make, geocoder: Geocoder) -> None:
    geocoder.bad = lambda text: text in {"x3", "x17"}
    table = asking(synced, {"url": geocoder.url})
    assert table.sync().status is Status.DONE
    failed = told(table).filter(pl.col("geo_status") != "ok")
    assert failed["text"].to_list() == ["x3", "x17"]
    assert set(failed["geo_error"]) == {"the API refuses the request (status 400)"}
    assert failed["lat"].null_count() == 2

    geocoder.texts.clear()
    assert enrich_missing(table.context()).rows_updated == 0, "they fail again, and nothing is written"
    assert set(geocoder.texts) == {"x3", "x17"}
    geocoder.texts.clear()
    geocoder.bad = lambda text: text == "x3"
    report = enrich_missing(table.context())
    assert (report.rows_read, report.rows_updated) == (2, 1)
    assert told(table).filter(pl.col("geo_status") != "ok")["text"].to_list() == ["x3"]
    assert told(table).row(17) == ("x17", 3.0, "X17", "ok", None)
    assert table.lake_frame().height == 25
    assert table.sync().status is Status.UNCHANGED


def test_rows_from_before_the_enrichment_are_missing_too(synced: Make, geocoder: Geocoder) -> None:
    table = synced(rows(range(25)))
    table.sync()
    table.declared["enrich"] = (enrichment({"url": geocoder.url}),)
    report = enrich_missing(table.context())
    assert (report.rows_read, report.rows_updated, report.rows_inserted) == (25, 25, 0)
    assert told(table)["town"].to_list() == [f"X{i}" for i in range(25)]
    assert table.sync(rows(range(26))).rows_inserted == 1
    assert told(table).row(25) == ("x25", 3.0, "X25", "ok", None)


def test_a_row_without_a_key_is_not_asked_for(synced: Make, geocoder: Geocoder) -> None:
    found = rows(range(3))
    table = asking(synced, {"url": geocoder.url}, found.set_column(3, "text", [pa.array(["x0", None, "x2"])]))
    table.sync()
    assert told(table).row(1) == (None, None, None, None, None)
    assert geocoder.texts == ["x0", "x2"]
    assert enrich_missing(table.context()).rows_read == 0


def test_an_endpoint_that_wants_its_owner_is_asked_once_and_the_sync_goes_on(synced: Make, geocoder: Geocoder) -> None:
    geocoder.refuse = lambda _: (401, {}, b"{}")
    table = asking(synced, {"url": geocoder.url, "headers": {"Authorization": "Bearer s3cr3t-token"}})
    assert table.sync().rows_inserted == 25
    assert len(geocoder.asked) == 1
    errors = told(table)["geo_error"].to_list()
    assert errors[0] == "the API does not accept the credentials (status 401)"
    assert errors[24] == "not asked, after: the API does not accept the credentials (status 401)"
    assert "s3cr3t" not in repr(table.context())
    assert "s3cr3t" not in str(errors)

    geocoder.refuse = None
    enrich_missing(table.context())
    assert told(table)["geo_status"].to_list() == ["ok"] * 25


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((500, {}, b"{}"), "the API failed with a server error (status 500)"),
        ((503, {}, b"{}"), "the API is busy or over its rate limit (status 503)"),
        ((200, {}, b"<html>"), "the API answered with HTML or XML instead of JSON (status 200)"),
        ((200, {}, b"[1, 2]"), "the endpoint gave 2 answers for 10 rows"),
        ((200, {}, b"{}"), "the endpoint gave no list of answers"),
        ((200, {"X-Cut": "3"}, b"[null, null]"), "the API did not answer"),
    ],
)
def test_a_batch_without_answers_fails_alone(
    synced: Make, geocoder: Geocoder, fault: tuple[int, dict[str, str], bytes], said: str
) -> None:
    geocoder.faults.append(fault)
    table = asking(synced, {"url": geocoder.url})
    assert table.sync().rows_inserted == 25
    assert told(table)["geo_error"].to_list() == [said] * 10 + [None] * 15


def test_three_batches_without_an_answer_end_the_asking_of_a_run(synced: Make, geocoder: Geocoder) -> None:
    geocoder.refuse = lambda _: (503, {}, b"")
    table = asking(synced, {"url": geocoder.url}, rows(range(80)))
    table.sync()
    assert len(geocoder.asked) == 3
    assert told(table)["geo_status"].to_list() == ["failed"] * 80


def test_a_busy_endpoint_is_asked_again_when_it_said(synced: Make, geocoder: Geocoder) -> None:
    geocoder.faults += [(429, {"Retry-After": "0"}, b""), (503, {}, b"")]
    table = asking(synced, {"url": geocoder.url}, retries=2)
    table.sync()
    assert told(table)["geo_status"].to_list() == ["ok"] * 25
    assert len(geocoder.asked) == 5


def test_a_rate_limit_holds_and_a_stop_ends_the_waiting(synced: Make, geocoder: Geocoder) -> None:
    """One request in a million seconds: the second is never sent, however slow or quick this machine is. The stop comes
    when all three would have been sent without a limit."""
    polls: Counter[int] = Counter()

    def stop() -> bool:
        polls.update([len(geocoder.asked)])
        return polls[1] > 8

    table = asking(synced, {"url": geocoder.url}, rate=(1, 1e6))
    assert table.sync(stop=stop).status is Status.CHECKPOINTED
    assert len(geocoder.asked) == 1
    table.declared["enrich"] = (replace(table.declared["enrich"][0], rate=None),)
    table.sync()
    assert Counter(geocoder.texts) == {f"x{i}": 1 for i in range(25)}, "what was answered before the stop is remembered"


@pytest.mark.parametrize("nth", [2, 5])
def test_a_kill_asks_nobody_twice(lake: Lake, geocoder: Geocoder, nth: int) -> None:
    command = [sys.executable, "-m", "tests.pipeline.killed_enrich", lake.uri, geocoder.url, str(nth)]
    environ = {**os.environ, **lake.store.storage_options}
    assert subprocess.run(command, check=False, env=environ).returncode == -signal.SIGKILL
    assert len(geocoder.texts) == min(nth * 10, 40)
    table = killed_table(lake, geocoder.url)
    assert table.sync().resumed
    assert Counter(geocoder.texts) == {f"x{i}": 1 for i in range(40)}
    assert told(table)["town"].to_list() == [f"X{i % 40}" for i in range(50)]


def test_an_address_takes_the_values_of_one_row(synced: Make, geocoder: Geocoder) -> None:
    call = {"url": f"{geocoder.url}/search", "method": "GET", "params": {"text": "{text}", "key": "abc"}}
    table = asking(synced, call, rows(range(3)), batch_rows=1)
    table.sync()
    assert [asked.params for asked in geocoder.asked] == [{"text": f"x{i}", "key": "abc"} for i in range(3)]
    assert told(table)["town"].to_list() == ["X0", "X1", "X2"]


def test_a_function_is_asked_like_an_endpoint(synced: Make) -> None:
    table = asking(synced, {"function": "tests.pipeline.enriched:locate"})
    table.sync()
    assert told(table).row(0) == ("x0", 52.5, "x0", "ok", None), "a number as text fits a declared number"
    assert told(table).row(1) == ("x1", None, None, "ok", None), "nothing found is an answer"


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        ("short", {}, ["the function gave 1 answers for 10 rows"] * 10),
        ("failing", {}, [None] * 7 + ["the function failed with ValueError"] + [None] * 2),
        ("endless", {"timeout_seconds": 0.01}, ["the function did not answer within 0.01 seconds"] * 10),
    ],
)
def test_what_a_function_does_wrong_is_said_in_its_rows(
    synced: Make, function: str, options: dict[str, Any], said: list[str | None]
) -> None:
    table = asking(synced, {"function": f"tests.pipeline.enriched:{function}"}, rows(range(10)), **options)
    assert table.sync().rows_inserted == 10
    assert told(table)["geo_error"].to_list() == said


def test_an_answer_that_does_not_fit_fails_its_row_only(synced: Make) -> None:
    table = asking(synced, {"function": "tests.pipeline.enriched:wrong"}, rows(range(5)))
    table.sync()
    assert told(table)["geo_error"].to_list() == [
        "lat: the value does not fit double",
        "the answer for this row is no object",
        "the answer for this row is an error",
        None,
        None,
    ]


@pytest.mark.parametrize(
    "path", ["tests.pipeline.enriched:nowhere", "no.such.module:f", "tests.pipeline.enriched:OUTPUTS"]
)
def test_an_unknown_function_stops_the_sync_before_it_reads(synced: Make, path: str) -> None:
    table = asking(synced, {"function": path})
    with pytest.raises(ConfigError, match="function of an enrichment"):
        table.sync()
    assert table.version == -1
    assert not table.source.reads


def test_columns_must_be_there_and_must_be_new(synced: Make) -> None:
    call = {"function": "tests.pipeline.enriched:locate"}
    table = asking(synced, call)
    table.declared["enrich"] = (replace(enrichment(call), inputs=("adress",)),)
    with pytest.raises(ConfigError, match="a column that the table does not have"):
        table.sync()
    table.declared["enrich"] = (enrichment(call, outputs=(Output("Text", pa.string(), ("town",)),)),)
    with pytest.raises(ConfigError, match="there already"):
        table.sync()


def test_a_frozen_table_takes_the_columns_that_were_declared_here(synced: Make, geocoder: Geocoder) -> None:
    table = synced(rows(range(5)), policy=SchemaPolicy.FREEZE)
    table.sync()
    table.declared["enrich"] = (enrichment({"url": geocoder.url}),)
    table.sync(rows(range(6)))
    assert told(table)["geo_status"].to_list()[5] == "ok"


def test_a_backfilled_partition_and_a_swapped_table_are_enriched(synced: Make, geocoder: Geocoder) -> None:
    table = asking(synced, {"url": geocoder.url})
    table.sync()
    table.backfill("2025-01")
    assert told(table)["geo_status"].to_list() == ["ok"] * 25
    swapped = synced(rows(range(5)), name="w", mode=SyncMode.FULL_REFRESH, declared=table.declared)
    swapped.sync()
    assert swapped.sync().status is Status.UNCHANGED
    assert told(swapped)["geo_status"].to_list() == ["ok"] * 5


def test_only_missing_refuses_what_it_cannot_do(synced: Make, geocoder: Geocoder) -> None:
    table = synced(rows(range(5)))
    with pytest.raises(ConfigError, match="no such table"):
        enrich_missing(table.context())
    table.sync()
    with pytest.raises(ConfigError, match="declares no enrichment"):
        enrich_missing(table.context())


def test_a_typo_in_a_new_files_table_is_told_before_it_is_read(tmp_path: Path, lake: Lake) -> None:
    (tmp_path / "a.csv").write_text("id,name\n1,one\n")
    source = FilesSource({"kind": "files", "files": [{"name": "t", "pattern": f"{tmp_path}/*.csv"}]})
    call = {"function": "tests.pipeline.enriched:locate"}
    for words in ({"inputs": ("nam",)}, {"inputs": ("name",), "key": ("nam",)}):
        declared = DeclaredTable("t", enrich=(replace(enrichment(call), **words),))
        with pytest.raises(ConfigError, match=r"column 'nam'.*Did you mean name.*columns:") as raised:
            sync_table(TableContext("s", declared, source, lake, ROOMY))
        assert raised.value.report.rows_read == 0
    right = replace(enrichment(call), inputs=("name",), key=("name",))
    sync_table(TableContext("s", DeclaredTable("t", enrich=(right,)), source, lake, ROOMY))
    with pytest.raises(ConfigError, match="a column that the table does not have"):
        enrich_missing(TableContext("s", declared, source, lake, ROOMY))


def test_a_key_that_the_policy_leaves_out_is_a_sentence(synced: Make) -> None:
    call = {"function": "tests.pipeline.enriched:locate"}
    table = synced(rows(range(5)), policy=SchemaPolicy.DISCARD)
    table.sync()
    wider = rows(range(6))
    table.declared["enrich"] = (replace(enrichment(call), key=("late",)),)
    with pytest.raises(ConfigError, match="column 'late'"):
        table.sync(wider.append_column("late", wider["text"]))
    with pytest.raises(ConfigError, match="column 'late'"):
        enrich_missing(table.context())
