"""Files behind http:// into a lake, from a web server that changes, breaks off and refuses."""

import gzip
import io
import json
import logging
import zipfile
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable
from import_platform.sources.files.connector import FilesSource
from import_platform.sources.files.declaration import parse
from import_platform.sources.files.web import WebPlace
from import_platform.sources.files.web_words import Http, Web
from import_platform.sources.http import waiting
from import_platform.sources.protocol import TokenExpired
from tests.sources.files.web_server import Served, WebServer

ROWS = 30_000
CSV = ("id,name\n" + "".join(f"{i},name {i}\n" for i in range(ROWS))).encode()


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(waiting, "BACKOFF_SECONDS", 0.001)
    with WebServer() as server:
        yield server


@pytest.fixture
def table(web, feed):
    def made(*paths, **words):
        one = feed(**words)
        urls = [path if path.startswith("http") else f"{web.url}{path}" for path in paths]
        one.words["pattern"] = urls if len(urls) > 1 else urls[0]
        return one

    return made


def parquet(first=0, count=ROWS):
    sink = io.BytesIO()
    columns = {"id": range(first, first + count), "name": [f"name {i}" for i in range(first, first + count)]}
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), sink, row_group_size=5000)
    return sink.getvalue()


def packed(suffix):
    if suffix == "gz":
        return gzip.compress(CSV)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", CSV)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/a.csv", CSV),
        ("/a.csv.gz", packed("gz")),
        ("/a.csv.zip", packed("zip")),
        ("/a.parquet", parquet()),
        ("/a.ndjson", b"".join(b'{"id": %d, "name": "name %d"}\n' % (i, i) for i in range(ROWS))),
        ("/a.json", json.dumps([{"id": i, "name": f"name {i}"} for i in range(ROWS)]).encode()),
    ],
)
def test_a_file_is_read_whole_over_http_and_not_again_while_it_is_the_same(web, table, path, data):
    web.files[path] = Served(data, etag='"one"')
    orders = table(path)
    assert orders.sync().rows_inserted == ROWS
    assert orders.rows("id", "name") == sorted(((i, f"name {i}") for i in range(ROWS)), key=repr)
    assert orders.sync().rows_read == 0


def test_records_of_xml_are_read_over_http(web, table):
    web.files["/a.xml"] = Served(b"<cases>" + b"".join(b'<case id="%d"></case>' % i for i in range(ROWS)) + b"</cases>")
    orders = table("/a.xml", record="case")
    orders.sync()
    assert [row[0] for row in sorted(orders.rows("id"))] == list(range(ROWS))


def test_a_list_of_files_is_one_table_and_a_file_is_named_without_its_query(web, table):
    web.files["/a.csv"] = Served(b"id\n1\n", etag='"a"')
    web.files["/b.csv"] = Served(b"id\n2\n", etag='"b"')
    orders = table("/a.csv?token=s3cret", "/b.csv")
    orders.sync()
    assert orders.rows("id", "_file") == [(1, f"{web.url}/a.csv"), (2, f"{web.url}/b.csv")]
    assert web.gets("/a.csv")[0].path == "/a.csv?token=s3cret"
    orders.words["pattern"][0] = f"{web.url}/a.csv?token=0ther"
    assert orders.sync().rows_read == 0, "another signature is no other file"


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"etag": '"1"'}, {"etag": '"2"'}),
        ({"etag": 'W/"1"'}, {"etag": 'W/"2"'}),
        (
            {"modified": "Sat, 21 Nov 2026 10:00:00 GMT"},
            {"modified": "Sat, 21 Nov 2026 11:00:00 GMT"},
        ),
    ],
)
def test_a_changed_version_is_read_again_and_its_lost_rows_go_away(web, table, before, after, ranges):
    web.files["/a.csv"] = Served(b"id,name\n1,one\n2,two\n", ranges=ranges, **before)
    orders = table("/a.csv")
    orders.sync()
    web.files["/a.csv"] = Served(b"id,name\n1,uno\n\n\n\n\n", ranges=ranges, **after)
    orders.sync()
    assert orders.rows("id", "name") == [(1, "uno")]


def test_a_server_without_versions_is_followed_by_size_and_that_is_said(web, table, caplog):
    web.files["/a.csv"] = Served(b"id\n1\n")
    orders = table("/a.csv")
    with caplog.at_level(logging.WARNING):
        orders.sync()
    assert f"the server tells no version of {web.url}/a.csv: only a change of its size is seen" in caplog.messages
    assert orders.sync().rows_read == 0
    web.files["/a.csv"] = Served(b"id\n1\n2\n")
    assert orders.sync().rows_read == 2


def test_a_server_that_refuses_head_is_asked_for_one_byte(web, table):
    web.files["/a.csv"] = Served(CSV, etag='"1"', head=False)
    orders = table("/a.csv")
    assert orders.sync().rows_inserted == ROWS
    assert any(asked.headers.get("Range") == "bytes=0-0" for asked in web.gets("/a.csv"))


@pytest.mark.parametrize("path", ["/a.csv", "/a.csv.gz"])
def test_text_is_read_as_it_comes_from_a_server_without_ranges(web, table, path):
    web.files[path] = Served(CSV if path == "/a.csv" else packed("gz"), etag='"1"', ranges=False)
    orders = table(path)
    assert orders.sync().rows_inserted == ROWS


@pytest.mark.parametrize(("path", "data"), [("/a.parquet", parquet()), ("/a.csv.zip", packed("zip"))])
def test_what_is_read_from_its_end_is_refused_by_one_sentence_without_ranges(web, table, path, data):
    web.files[path] = Served(data, etag='"1"', ranges=False)
    with pytest.raises(SourceRejected, match="the server gives no part of a file"):
        table(path).sync()


def test_parquet_is_read_in_parts_over_few_connections(web, table):
    web.files["/a.parquet"] = Served(parquet(), etag='"1"')
    table("/a.parquet").sync()
    ranges = [asked for asked in web.gets("/a.parquet") if "Range" in asked.headers]
    assert len(ranges) == len(web.gets("/a.parquet"))
    assert all(asked.headers["If-Range"] == '"1"' for asked in ranges)
    assert web.connections == 1


def test_a_missing_file_is_named_and_nothing_is_lost(web, table):
    web.files["/a.csv"] = Served(b"id\n1\n", etag='"1"')
    orders = table("/a.csv")
    orders.sync()
    del web.files["/a.csv"]
    with pytest.raises(SourceRejected, match="the server has no such file") as caught:
        orders.sync()
    assert f"{web.url}/a.csv" in str(caught.value)
    assert orders.rows("id") == [(1,)]


def test_a_busy_server_is_asked_again_after_the_time_that_it_wants(web, table, monkeypatch):
    waited = []
    monkeypatch.setattr(waiting.Patience, "wait", lambda self, seconds: waited.append(seconds))
    web.files["/a.csv"] = Served(b"id\n1\n", etag='"1"')
    web.faults.extend([(500, {}), (503, {}), (429, {"Retry-After": "7"})])
    orders = table("/a.csv")
    assert orders.sync().rows_inserted == 1
    assert len(waited) == 3
    assert waited[2] >= 7


def test_a_server_that_stays_busy_ends_the_sync_to_be_tried_later(web, table):
    web.files["/a.csv"] = Served(b"id\n1\n", etag='"1"')
    web.faults.extend([(503, {})] * 3)
    with pytest.raises(SourceUnavailable, match="status 503"):
        table("/a.csv", http={"retries": 2}).sync()
    web.faults.clear()
    web.faults.append((429, {"Retry-After": "5000"}))
    with pytest.raises(SourceUnavailable, match="retry_after_seconds 5000"):
        table("/a.csv").sync()


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("path", ["/a.csv", "/a.csv.gz"])
def test_a_body_that_is_cut_short_goes_on_where_it_ended(web, table, ranges, path):
    data = CSV if path == "/a.csv" else packed("gz")
    web.files[path] = Served(data, etag='"1"', ranges=ranges)
    web.cuts.extend([3, 50_000, 40_000, 60_000, 10])
    orders = table(path)
    assert orders.sync().rows_inserted == ROWS
    assert not web.cuts
    assert [row[0] for row in sorted(orders.rows("id"))] == list(range(ROWS))


def test_a_body_that_always_ends_at_one_byte_is_given_up(web, table):
    web.files["/a.csv"] = Served(CSV, etag='"1"', ranges=False)
    web.cuts.extend([1000] * 50)
    with pytest.raises(SourceUnavailable, match="the body of a file ends too early"):
        table("/a.csv", http={"retries": 3}).sync()
    assert len(web.cuts) > 30


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("etag", [True, False])
def test_a_file_that_changes_between_two_requests_is_never_mixed(web, table, ranges, etag):
    """The second version differs in every row. Where no etag tells of it, its size does."""
    orders = table("/a.csv", columns={"id": "bigint"})
    web.files["/a.csv"] = Served(b"id,name\n1,x\n", etag='"0"' if etag else None, ranges=ranges)
    orders.sync()
    web.files["/a.csv"] = Served(CSV, etag='"1"' if etag else None, ranges=ranges)
    new = CSV.replace(b"name ", b"new ")
    looked = []

    def change(asked):
        is_body = asked.method == "GET" and web.files["/a.csv"].data == CSV
        looked.append(asked)
        if is_body and sum(one.method == "GET" for one in looked) == 2:
            web.files["/a.csv"] = Served(new, etag='"2"' if etag else None, ranges=ranges)

    web.before = change
    web.cuts.append(100_000)
    for _ in range(2):  # where discovery met the change, the next sync reads it
        try:
            orders.sync()
            break
        except SourceUnavailable:
            continue
    assert web.files["/a.csv"].data == new, "it has changed"
    assert {row[0].split()[0] for row in orders.rows("name")} == {"new"}
    assert len(orders.rows("id")) == ROWS


def opened(web, path):
    place = WebPlace(Web({path: f"{web.url}{path}"}, Http(retries=2)))
    place.look(path)
    return place.open(path)


def test_a_stream_that_is_read_again_notices_that_its_beginning_changed(web):
    """No etag, no date, the same size: only the bytes themselves tell."""
    web.files["/a.csv"] = Served(CSV, ranges=False)
    web.cuts.append(300_000)
    file = opened(web, "/a.csv")
    assert file.read(200_000) == CSV[:200_000]
    web.files["/a.csv"] = Served(CSV.replace(b"name 7\n", b"NAME 7\n"), ranges=False)
    with pytest.raises(TokenExpired, match="a file changed while it was read"):
        file.read(200_000)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("read_bytes", [0, 200_000])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Served(CSV, etag='"1"'), Served(CSV[::-1], etag='"2"')),
        (Served(CSV, modified="one"), Served(CSV[::-1], modified="two")),
        (Served(CSV), Served(CSV + b"1,x\n")),
    ],
)
def test_a_file_that_changes_after_it_was_looked_at_is_not_read_on(web, before, after, ranges, read_bytes):
    web.files["/a.csv"] = replace(before, ranges=ranges)
    web.cuts.append(300_000)  # of a stream, so that it is asked for again
    file = opened(web, "/a.csv")
    assert file.read(read_bytes) == CSV[:read_bytes]
    web.files["/a.csv"] = replace(after, ranges=ranges)
    with pytest.raises(TokenExpired, match="a file changed while it was read"):
        file.read()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_is_read_from_any_byte_on(web, ranges):
    web.files["/a.csv"] = Served(CSV, etag='"1"', ranges=ranges)
    file = opened(web, "/a.csv")
    for begin, count in [(0, 4), (0, 70_000), (400_000, 1000), (100, 50), (399_000, 3000), (len(CSV) - 5, 100)]:
        assert file.seek(begin) == begin
        assert file.read(count) == CSV[begin : begin + count]
    assert file.read(10) == b""
    file.seek(0)
    assert file.read() == CSV


def test_an_empty_file_is_a_file(web, table):
    web.files["/a.csv"] = Served(b"", etag='"1"')
    web.files["/b.csv"] = Served(b"id\n1\n", etag='"1"')
    assert table("/a.csv", "/b.csv").sync().rows_inserted == 1


@pytest.mark.parametrize(
    "http",
    [
        {"auth": {"token": "s3cret-token"}},
        {"auth": {"type": "http_basic", "username": "me", "password": "s3cret-token"}},
        {"auth": {"type": "api_key", "name": "X-Key", "api_key": "s3cret-token"}},
        {"headers": {"X-Other": "s3cret-token\n"}},
    ],
)
def test_a_redirect_to_another_host_carries_no_credentials(web, table, http):
    with WebServer() as other:
        other.files["/b.csv"] = Served(b"id\n1\n", etag='"1"')
        web.redirects["/a.csv"] = f"{other.url}/b.csv"
        orders = table("/a.csv", http=http)
        assert orders.sync().rows_inserted == 1
        names = {"Authorization", "X-Key", "X-Other"}
        assert all(names & asked.headers.keys() for asked in web.asked)
        assert other.asked
        assert not any(names & asked.headers.keys() for asked in other.asked)
        assert "s3cret" not in str([asked.headers for asked in other.asked])


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_no_error_holds_a_secret_of_the_address_or_of_a_header(web, table, status):
    web.faults.extend([(status, {})] * 20)
    orders = table("/a.csv?sig=s3cret", http={"auth": {"token": "s3cret"}, "retries": 1})
    with pytest.raises((SourceRejected, SourceUnavailable)) as caught:
        orders.sync()
    assert "s3cret" not in f"{caught.value!r} {caught.value} {caught.value.facts}"
    tables = parse({"files": [{"name": "t", **orders.words}]})
    assert "s3cret" not in repr(tables)
    assert "s3cret" not in repr(FilesSource({"files": [{"name": "t", **orders.words}]}))


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("https://example.com/a-*.csv", "a URL has no wildcards"),
        (["https://example.com/a.csv", "data/b.csv"], "something else than http"),
        ("https://me:s3cret@example.com/a.csv", "an address holds a user"),
        (["https://example.com/a.csv?x=1", "https://example.com/a.csv?x=2"], "two files have one name"),
        ("https://example.com:s3cret/a.csv", "an address is no URL"),
        ("ftp://example.com/a.csv", "nor behind http"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_with_a_remedy(pattern, said):
    with pytest.raises(ConfigError, match=said) as caught:
        FilesSource({"files": [{"name": "t", "pattern": pattern}]}).check()
    assert caught.value.remedy
    assert "s3cret" not in str(caught.value)


def test_credentials_are_for_one_host(web):
    urls = ["https://a.example/a.csv", "https://b.example/b.csv"]
    with pytest.raises(ConfigError, match="credentials would go to several hosts"):
        parse({"files": [{"name": "t", "pattern": urls, "http": {"auth": {"token": "x"}}}]})


def test_files_that_differ_in_their_query_only_are_told_apart_by_names(web, table):
    web.files["/a"] = Served(b"id\n1\n", etag='"1"')
    orders = table("/a", format="csv")
    orders.words["pattern"] = [{"url": f"{web.url}/a?year={year}", "name": f"{year}.csv"} for year in (2025, 2026)]
    orders.sync()
    assert orders.rows("_file") == [("2025.csv",), ("2026.csv",)]
