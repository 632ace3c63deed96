"""A server whose certificate nobody vouches for gets no request, no credentials, and the person a sentence."""

from __future__ import annotations

import duckdb
import pytest
import requests

from import_platform.errors import ImportPlatformError, SourceRejected, StoreUnavailable
from import_platform.io.delta import DeltaLog
from import_platform.io.duckdb_lake import extension_path
from import_platform.io.store import Store
from import_platform.sources.registry import open_source
from tests.safety.untrusted_server import untrusted_server

TOKEN = "t0ken-that-nobody-may-see"


@pytest.fixture
def server(tmp_path):
    with untrusted_server(tmp_path) as running:
        yield running


@pytest.fixture
def environ(server):
    return {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": TOKEN, "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.url,
    }  # fmt: skip


def api(server):
    return {
        "kind": "rest",
        "client": {"base_url": server.url, "auth": {"type": "bearer", "token": TOKEN}, "retries": 0},
        "resources": [{"name": "orders", "primary_key": "id", "endpoint": {"path": "orders"}}],
    }


def test_an_api_is_refused_with_a_sentence_that_says_how_to_trust_it(server):
    with pytest.raises(SourceRejected, match="certificate is not trusted") as refused:
        open_source("shop", api(server)).check()
    assert "REQUESTS_CA_BUNDLE" in str(refused.value)
    assert TOKEN not in str(refused.value)
    assert server.asked == []


def test_an_authority_that_a_person_names_is_trusted(server, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.certificate))
    with pytest.raises(ImportPlatformError) as answered:
        open_source("shop", api(server)).check()
    assert "certificate" not in str(answered.value)
    assert server.asked, "a control: the server does answer those who trust it"


@pytest.mark.slow
def test_a_store_is_refused_with_a_sentence_by_both_of_its_clients(server, environ):
    store = Store("s3://bucket/lake", env=environ)
    for ask in (lambda: store.get("x"), lambda: DeltaLog(store, "shop/orders").snapshot()):
        with pytest.raises(StoreUnavailable) as refused:
            ask()
        assert TOKEN not in str(refused.value)
        assert "127.0.0.1" in str(refused.value)
    assert server.asked == []


def test_queries_verify_certificates_too():
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{extension_path('httpfs')}'")
        sql = "select current_setting('enable_curl_server_cert_verification')"
        assert connection.execute(sql).fetchall() == [(True,)]
        assert connection.execute("select current_setting('httpfs_client_implementation')").fetchall() == [("default",)]


def test_a_person_can_not_switch_verification_off_by_accident(server, monkeypatch):
    for name in ("PYTHONHTTPSVERIFY", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, "0" if name.startswith("PYTHON") else "")
    with pytest.raises(SourceRejected, match="certificate is not trusted"):
        open_source("shop", api(server)).check()
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(server.url, timeout=5)
    assert server.asked == []
