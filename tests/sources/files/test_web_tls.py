"""Files behind https://: whose certificates are trusted, and a large file gone on with after a kill."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from import_platform.errors import ConfigError, SourceRejected
from import_platform.sources.http import waiting
from tests.sources.files.authority import new_authority
from tests.sources.files.web_server import Served, WebServer

ROOT = Path(__file__).parents[3]
TOKEN = "t0ken-that-nobody-may-see"


@pytest.fixture
def authority(tmp_path):
    return new_authority(tmp_path / "authority.pem")


@pytest.fixture
def web(tmp_path, authority, monkeypatch):
    monkeypatch.setattr(waiting, "BACKOFF_SECONDS", 0.001)
    with WebServer(certificate=authority.signed(tmp_path / "server.pem")) as server:
        server.files["/a.csv"] = Served(b"id\n1\n2\n", etag='"1"')
        yield server


@pytest.fixture
def orders(feed):
    def made(server, **http):
        table = feed(http={"auth": {"token": TOKEN}, **http})
        table.words["pattern"] = f"{server.url}/a.csv"
        return table

    return made


def test_an_authority_that_the_table_names_is_trusted(web, authority, orders):
    table = orders(web, ca=str(authority.certificate))
    table.sync()
    assert table.rows("id") == [(1,), (2,)]


def test_an_authority_that_the_environment_names_is_trusted(web, authority, orders, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.certificate))
    table = orders(web)
    table.sync()
    assert table.rows("id") == [(1,), (2,)]


def test_the_authority_of_the_table_goes_before_that_of_the_environment(web, authority, orders, monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(new_authority(tmp_path / "other.pem").certificate))
    with pytest.raises(SourceRejected, match="the certificate of a server is not trusted"):
        orders(web).sync()
    assert orders(web, ca=str(authority.certificate)).sync().rows_inserted == 2


def refused(table, server, said):
    with pytest.raises(SourceRejected, match="the certificate of a server is not trusted") as caught:
        table.sync()
    assert said in str(caught.value)
    assert "REQUESTS_CA_BUNDLE" in str(caught.value)
    assert "ca under http" in str(caught.value)
    assert TOKEN not in f"{caught.value!r} {caught.value}"
    assert server.asked == [], "no request, so no credentials"


def test_an_unknown_authority_is_refused_with_one_sentence_that_says_how_to_trust_it(web, orders):
    refused(orders(web), web, "unable to get local issuer certificate")


def test_a_certificate_of_another_host_is_refused(authority, orders, tmp_path):
    with WebServer(certificate=authority.signed(tmp_path / "other.pem", host="127.0.0.2")) as server:
        refused(orders(server, ca=str(authority.certificate)), server, "127.0.0.1")


def test_a_certificate_that_is_over_is_refused(authority, orders, tmp_path):
    with WebServer(certificate=authority.signed(tmp_path / "old.pem", days=-1)) as server:
        refused(orders(server, ca=str(authority.certificate)), server, "expired")


@pytest.mark.parametrize("text", [None, "no certificate"])
@pytest.mark.parametrize("by_table", [True, False])
def test_a_file_of_authorities_that_is_missing_or_holds_none_is_told(
    web, orders, tmp_path, monkeypatch, text, by_table
):
    path = tmp_path / "authorities.pem"
    if text is not None:
        path.write_text(text)
    if not by_table:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with pytest.raises(ConfigError, match="the file of certificate authorities cannot be used") as caught:
        orders(web, **({"ca": str(path)} if by_table else {})).sync()
    assert str(path) in str(caught.value)


def test_a_greeting_that_breaks_off_is_tried_again(web, authority, orders):
    web.hangups = 2
    assert orders(web, ca=str(authority.certificate)).sync().rows_inserted == 2
    assert web.hangups == 0


LARGE = 6 << 20
ROW = {"csv": b"%07d,a name of some length\n", "ndjson": b'{"id": %d, "name": "a name of some length"}\n'}
HEAD = {"csv": b"id,name\n", "ndjson": b""}
SAMPLED = 1 << 20
"""Each run looks at so much of the file's beginning for its columns."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_a_killed_read_of_a_large_file_goes_on_at_its_byte(web, authority, feed, kind):
    count = LARGE // len(ROW[kind] % 10**6)
    data = HEAD[kind] + b"".join(ROW[kind] % i for i in range(count))
    web.files[f"/large.{kind}"] = Served(data, etag='"1"')
    table = feed(columns={"id": "bigint"}, http={"ca": str(authority.certificate)})
    table.words["pattern"] = f"{web.url}/large.{kind}"
    assert run(table, nth=30) is None, "it was killed"
    reached = max(token["byte"] for token in tokens(table))
    assert SAMPLED < reached < len(data) - SAMPLED
    web.asked.clear()
    again = run(table)
    assert again["resumed"]
    ranges = [
        tuple(map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", one.headers["Range"]).groups()))
        for one in web.asked
        if one.method == "GET"
    ]
    behind = [(begin, end) for begin, end in ranges if end >= SAMPLED]
    assert min(begin for begin, _ in behind) == reached
    assert sum(end + 1 - begin for begin, end in behind) == len(data) - reached, "each byte once"
    assert [row[0] for row in sorted(table.rows("id"))] == list(range(count))


def run(table, nth=0):
    command = [sys.executable, "-m", "tests.sources.files.child", table.lake.store.uri, str(nth)]
    done = subprocess.run([*command, json.dumps(table.words)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def tokens(table):
    """Where the staged chunks of the killed pass end."""
    folder = Path(table.lake.store.uri.removeprefix("file://")) / "_staging/s/t/attempts"
    said = [json.loads(path.read_text()) for path in folder.glob("*/0*.json")]
    return [checkpoint["token"] for checkpoint in said if checkpoint["token"]]
