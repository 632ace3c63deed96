"""Commits are a compare-and-swap, whatever deltalake 1.6.6 does on its own. Each trap has its test here."""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.transaction import AddAction

from import_platform.core.identity import PROPERTY
from import_platform.core.state import APP_ID
from import_platform.errors import CommitConflict, CommitOutcomeUnknown, ConfigError, InvariantBroken
from import_platform.io.delta import Commit, DeltaLog
from import_platform.io.parquet import LeafWriter
from import_platform.io.store import Store

SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string())])
PATH = "s/t"


@pytest.fixture
def local(tmp_path):
    return Store(str(tmp_path / "lake"))


def file(store, leaf, ids, schema=SCHEMA):
    writer = LeafWriter(store, PATH, leaf, schema)
    columns = [pa.array(ids, pa.int64()), pa.array([f"x{i}" for i in ids])]
    columns += [pa.array(list(ids), field.type) for field in list(schema)[2:]]
    writer.write(pa.record_batch(columns, schema=schema))
    [written] = writer.close()
    return written


def created(store, leaves=None):
    """A log of a table with a file per leaf, loaded."""
    log = DeltaLog(store, PATH)
    adds = [file(store, leaf, ids) for leaf, ids in (leaves or {"a": range(10), "b": range(10, 20)}).items()]
    log.create(SCHEMA, Commit(adds, [], number=1), identity='{"x": 1}')
    return log


def ids(log, store):
    frame = pl.read_delta(log.uri, storage_options=store.storage_options)
    return sorted(frame["id"].to_list())


def foreign(log, store):
    return DeltaTable(log.uri, storage_options=store.storage_options)


def test_a_table_is_created_whole_and_read_back(store):
    log = created(store)
    snapshot = DeltaLog(store, PATH).snapshot()
    assert (snapshot.version, snapshot.rows, snapshot.transaction) == (0, 20, 1)
    assert snapshot.schema.equals(SCHEMA)
    assert snapshot.leaves == {"a", "b"}
    assert snapshot.properties[PROPERTY] == '{"x": 1}'
    assert snapshot.files.sort("leaf").select("min.id", "max.id").rows() == [(0, 9), (10, 19)]
    assert ids(log, store) == list(range(20))


def test_a_table_that_is_not_there_is_none(store):
    assert DeltaLog(store, PATH).snapshot() is None


def test_a_table_may_be_created_without_rows(store):
    log = DeltaLog(store, PATH)
    log.create(SCHEMA, Commit([], [], number=1), identity="{}")
    snapshot = log.snapshot()
    assert (snapshot.rows, snapshot.files.height, snapshot.transaction) == (0, 0, 1)
    log.commit(snapshot, Commit([file(store, "a", [1])], [], number=2))
    assert ids(log, store) == [1]


def test_only_one_writer_creates_a_table(store):
    created(store)
    with pytest.raises(CommitConflict):
        created(store)
    assert DeltaLog(store, PATH).snapshot().rows == 20


def test_files_are_swapped_in_one_version_and_the_handle_advances(store):
    log = created(store)
    before = log.snapshot()
    [path] = before.files.filter(pl.col("leaf") == "a")["path"]
    log.commit(before, Commit([file(store, "c", [100])], [path], number=2, facts={"import_platform.kind": "test"}))
    after = log.snapshot()
    assert (after.version, after.transaction, after.rows) == (1, 2, 11)
    assert ids(log, store) == [*range(10, 20), 100]
    assert foreign(log, store).history(1)[0]["import_platform.kind"] == "test"


# A stale writer: what landed between its snapshot and its commit.


def compact(table):
    table.optimize.compact()


def append(table):
    rows = pa.table({"id": pa.array([5], pa.int64()), "text": ["foreign"], "_partition": ["a"]})
    write_deltalake(table, rows, mode="append")


def delete(table):
    table.delete("id = 1")


def merge(table):
    rows = pa.table({"id": pa.array([5], pa.int64()), "text": ["foreign"], "_partition": ["a"]})
    table.merge(rows, "t.id = s.id", source_alias="s", target_alias="t").when_matched_update_all().execute()


def overwrite(table):
    rows = pa.table({"id": pa.array([5], pa.int64()), "text": ["foreign"], "_partition": ["a"]})
    write_deltalake(table, rows, mode="overwrite")


def column(table):
    from deltalake import Field
    from deltalake.schema import PrimitiveType

    table.alter.add_columns([Field("more", PrimitiveType("long"))])


@pytest.mark.parametrize("work", [compact, append, delete, merge, overwrite, column])
def test_a_commit_on_a_snapshot_that_is_no_longer_the_newest_changes_nothing(local, work):
    log = created(local, {"a": range(10), "b": range(10, 20)})
    first = log.snapshot()
    log.commit(first, Commit([file(local, "a", [50])], [], number=2))  # two files in a leaf, so that compact has work
    stale = log.snapshot()
    ours = Commit([file(local, "a", range(10))], [stale.files.filter(pl.col("leaf") == "a")["path"][0]], number=3)
    work(foreign(log, local))
    theirs = foreign(log, local)
    before = (theirs.version(), ids(log, local))
    with pytest.raises(CommitConflict):
        log.commit(stale, ours)
    assert (foreign(log, local).version(), ids(log, local)) == before
    assert log.snapshot().transaction == 2


def test_the_trap_is_still_there_default_retries_double_rows_after_a_compaction(local):
    """When this fails deltalake has been mended; until then nobody may commit without `max_commit_retries=0`."""
    log = created(local, {"a": range(10)})
    log.commit(log.snapshot(), Commit([file(local, "a", range(10, 20))], [], number=2))
    table = foreign(log, local)
    snapshot = log.snapshot()
    compact(foreign(log, local))
    actions = [_remove(path, row) for path, row in zip(snapshot.files["path"], snapshot.files.rows(), strict=True)]
    again = file(local, "a", range(20))
    actions.append(AddAction(again.path, again.size_bytes, {"_partition": "a"}, 1, True, again.statistics))
    table.create_write_transaction(actions, mode="append", schema=table.schema(), partition_by=["_partition"])
    assert len(ids(log, local)) == 40


def _remove(path, row):
    from deltalake.transaction import RemoveAction

    return RemoveAction(path=path, data_change=True, deletion_timestamp=1, partition_values={"_partition": row[1]})


def test_a_repeated_transaction_number_is_refused(local):
    """deltalake commits the same number twice on a fresh snapshot: rows would double after a lost acknowledgement."""
    log = created(local)
    log.commit(log.snapshot(), Commit([file(local, "a", [50])], [], number=2))
    for number in (2, 1):
        with pytest.raises(InvariantBroken):
            log.commit(log.snapshot(), Commit([file(local, "a", [50])], [], number=number))
    assert ids(log, local).count(50) == 1


def test_changes_that_belong_to_no_sync_leave_the_transaction_number(local):
    log = created(local)
    log.commit(log.snapshot(), Commit([file(local, "a", [50])], [], data_change=False))
    assert log.snapshot().transaction == 1


def test_a_path_that_the_snapshot_does_not_hold_is_refused(local):
    """deltalake accepts the removal of an unknown path in silence, so rows would be there twice."""
    log = created(local)
    with pytest.raises(InvariantBroken, match="not in its snapshot"):
        log.commit(log.snapshot(), Commit([], ["_partition=a/unknown.parquet"], number=2))
    assert log.snapshot().version == 0


def test_a_commit_of_another_snapshot_than_the_loaded_one_is_refused(local):
    log = created(local)
    old = log.snapshot()
    log.commit(old, Commit([file(local, "a", [50])], [], number=2))
    log.snapshot()
    with pytest.raises(InvariantBroken, match="another snapshot"):
        log.commit(old, Commit([file(local, "a", [51])], [], number=3))


@pytest.mark.parametrize("make", ["create", "commit"])
@pytest.mark.parametrize("fault", ["missing", "short"])
def test_a_file_that_is_not_there_in_full_is_never_committed(store, make, fault):
    log = created(store) if make == "commit" else DeltaLog(store, PATH)
    added = file(store, "a", [50])
    if fault == "missing":
        store.delete([f"{PATH}/{added.path}"])
    else:
        added = replace(added, size_bytes=added.size_bytes + 1)
    with pytest.raises(InvariantBroken, match="missing or has another size"):
        if make == "commit":
            log.commit(log.snapshot(), Commit([added], [], number=2))
        else:
            log.create(SCHEMA, Commit([added], [], number=1), identity="{}")


ODD_LEAVES = ["a b", "50%", "ü", "2026-01-01 00:00:00", "a=b", "x%20y", "+", "a#b?c"]


def test_files_in_folders_that_need_percent_encoding_are_removed_as_well(local):
    """Somebody else's append may make them: the log's paths are encoded, the actions' are not."""
    log = created(local)
    rows = {"id": pa.array(range(100, 108), pa.int64()), "text": ["x"] * 8, "_partition": ODD_LEAVES}
    write_deltalake(log.uri, pa.table(rows), mode="append")
    snapshot = log.snapshot()
    odd = snapshot.files.filter(pl.col("leaf").is_in(ODD_LEAVES))
    assert odd.height == 8
    for path in odd["path"]:
        assert local.size_bytes(f"{PATH}/{path}") is not None
    log.commit(snapshot, Commit([], odd["path"].to_list(), number=2))
    assert log.snapshot().files.height == 2
    assert ids(log, local) == list(range(20))


def test_a_new_column_is_a_commit_of_its_own_and_readable(store):
    log = created(store)
    snapshot = log.snapshot()
    log.add_columns(snapshot, [pa.field("at", pa.timestamp("us", "UTC")), pa.field("n", pa.decimal128(10, 2))])
    after = log.snapshot()
    assert after.version == 1
    assert after.schema.names == ["id", "text", "at", "n"]
    assert (after.schema.field("at").type, after.schema.field("n").type) == (
        pa.timestamp("us", "UTC"),
        pa.decimal128(10, 2),
    )
    assert after.transaction == 1
    assert ids(log, store) == list(range(20))


def test_columns_are_not_added_to_a_table_that_changed_meanwhile(local):
    log = created(local)
    snapshot = log.snapshot()
    column(foreign(log, local))
    with pytest.raises(CommitConflict):
        log.add_columns(snapshot, [pa.field("at", pa.int64())])
    assert log.snapshot().schema.names == ["id", "text", "more"]


def test_the_trap_is_still_there_a_changed_schema_is_ignored_in_silence(local):
    log = created(local)
    wider = pa.schema([*SCHEMA, ("more", pa.int64())])
    table = foreign(log, local)
    added = file(local, "a", [77], wider)
    from deltalake import Schema

    table.create_write_transaction(
        [AddAction(added.path, added.size_bytes, {"_partition": "a"}, 1, True, added.statistics)],
        mode="append",
        schema=Schema.from_arrow(pa.schema([*wider, pa.field("_partition", pa.string())])),
        partition_by=["_partition"],
        commit_properties=CommitProperties(max_commit_retries=0),
    )
    assert "more" not in foreign(log, local).to_pyarrow_table().column_names


@pytest.mark.parametrize("feature", ["delta.enableDeletionVectors", "delta.columnMapping.mode"])
def test_tables_whose_files_cannot_be_removed_by_name_are_refused(local, feature):
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [], "writerFeatures": []}
    name = "deletionVectors" if "Vectors" in feature else "columnMapping"
    protocol["readerFeatures"] = protocol["writerFeatures"] = [name]
    log = created(local)
    path = f"{PATH}/_delta_log/{0:020d}.json"
    entries = [json.loads(line) for line in local.get(path).splitlines()]
    for entry in entries:
        if "protocol" in entry:
            entry["protocol"] = protocol
        if "metaData" in entry:
            entry["metaData"]["configuration"][feature] = "true" if name == "deletionVectors" else "name"
            schema = json.loads(entry["metaData"]["schemaString"])
            for number, field in enumerate(schema["fields"], start=1):
                field["metadata"] = {
                    "delta.columnMapping.id": number,
                    "delta.columnMapping.physicalName": field["name"],
                }
            entry["metaData"]["schemaString"] = json.dumps(schema)
    local.put(path, "\n".join(map(json.dumps, entries)).encode())
    with pytest.raises(ConfigError, match="deletion vectors or column mapping"):
        log.snapshot()


def test_a_table_of_somebody_else_is_refused(local):
    write_deltalake(f"{local.uri}/{PATH}", pa.table({"id": [1]}))
    with pytest.raises(ConfigError, match="someone else"):
        DeltaLog(local, PATH).snapshot()


def test_the_transaction_number_of_another_application_is_not_ours(local):
    log = created(local)
    rows = pa.table({"id": pa.array([5], pa.int64()), "text": ["foreign"], "_partition": ["a"]})
    theirs = CommitProperties(app_transactions=[Transaction("somebody", 99)])
    write_deltalake(log.uri, rows, mode="append", commit_properties=theirs)
    assert log.snapshot().transaction == 1
    assert foreign(log, local).transaction_version(APP_ID) == 1


def test_a_store_that_fails_in_the_middle_of_a_commit_leaves_the_outcome_unknown(local, monkeypatch):
    log = created(local)
    snapshot = log.snapshot()
    added = file(local, "a", [50])

    class Broken:
        def __getattr__(self, name):
            return getattr(log_table, name)

        def create_write_transaction(self, *args, **kwargs):
            log_table.create_write_transaction(*args, **kwargs)
            raise OSError("connection reset")

    log_table, log._handle._table = log._handle._table, Broken()
    with pytest.raises(CommitOutcomeUnknown):
        log.commit(snapshot, Commit([added], [], number=2))
    assert DeltaLog(local, PATH).snapshot().transaction == 2, "it had landed: that is why one looks before acting"


def test_many_commits_survive_log_checkpoints(local):
    log = created(local)
    for number in range(2, 45):
        snapshot = log.snapshot()
        removes = [snapshot.files.sort("min.id")["path"][-1]] if number % 3 == 0 else []
        log.commit(snapshot, Commit([file(local, "a", [number * 100])], removes, number=number))
    fresh = DeltaLog(local, PATH).snapshot()
    assert (fresh.version, fresh.transaction) == (43, 44)
    assert fresh.files.equals(log.snapshot().files, null_equal=True) or set(fresh.files["path"]) == set(
        log.snapshot().files["path"]
    )
    assert fresh.files["max.id"].null_count() == 0
    assert fresh.properties[PROPERTY] == '{"x": 1}'
