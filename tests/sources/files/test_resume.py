"""kill -9 in the middle of a file; the next process goes on there, with the list of files that the first one made."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from tests.s3_server import new_bucket, s3_server

ROOT = Path(__file__).parents[3]
ROWS = 20_000


def run(feed, nth=0):
    command = [sys.executable, "-m", "tests.sources.files.child", feed.lake.store.uri, str(nth), json.dumps(feed.words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def csv_rows(start):
    return "id,name\n" + "".join(f"{i},name {i}\n" for i in range(start, start + ROWS))


def xml_records(start):
    body = "".join(f'<case id="{i}"><name>name {i}</name></case>' for i in range(start, start + ROWS))
    return f"<cases>{body}<case id='oops'>a & b</case></cases>"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "xml"])
def test_a_killed_sync_goes_on_inside_its_file_and_leaves_newer_files_to_the_next(feed, kind):
    table = feed(f"*.{kind}", **({"record": "case"} if kind == "xml" else {}))
    data = csv_rows if kind == "csv" else xml_records
    table.put(f"a.{kind}", data(0))
    table.put(f"b.{kind}", data(ROWS))
    assert run(table, nth=2) is None, "it was killed"
    table.put(f"0.{kind}", data(2 * ROWS))
    again = run(table)
    assert again["resumed"]
    assert again["rows_read"] < 2 * ROWS, "what was staged is not read again"
    assert run(table)["rows_read"] == ROWS + (kind == "xml"), "the file that came meanwhile"
    assert [row[0] for row in sorted(table.rows("id"))] == list(range(3 * ROWS))
    assert run(table)["rows_read"] == 0


def test_files_on_s3_are_listed_by_etag_and_read_once(feed, monkeypatch):
    with s3_server() as env:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        uri = new_bucket(env)
        options = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "aws_region": "us-east-1"}
        endpoint = {"aws_endpoint_url": env["AWS_ENDPOINT_URL"]}
        store = S3Store.from_url(uri, config=options | endpoint, client_options={"allow_http": True})
        obstore.put(store, "in/a.csv", b"id\n1\n2\n")
        table = feed()
        table.words["pattern"] = f"{uri}/in/*.csv"
        assert table.sync().rows_inserted == 2
        assert table.sync().rows_read == 0
        obstore.put(store, "in/a.csv", b"id\n7\n8\n")
        table.sync()
        assert table.rows("id") == [(7,), (8,)]
