"""Keys, address and region come from where boto3 has them, reach every client, and stand in no text."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

import duckdb
import pytest

from import_platform.errors import ConfigError, SourceRejected, SourceUnavailable, StoreUnavailable
from import_platform.io.duckdb_lake import CLOSED
from import_platform.io.store import Store
from import_platform.resources.dbt_plugin import Plugin
from import_platform.s3 import Keys, S3Access
from import_platform.sources.files.opened import parts_of
from import_platform.sources.files.places import place_of
from tests.aws_files import AwsFiles
from tests.fault_proxy import fault_proxy
from tests.s3_server import ROOT, environment, new_bucket, s3_server

ONCE_IN_SECONDS = 0.2
"""obstore asks for keys every tenth of a second at most."""

OWN = {"AWS_ACCESS_KEY_ID": "OWN", "AWS_SECRET_ACCESS_KEY": "hushed"}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A home folder of this process, which has no AWS_* but those that lead there."""
    made = AwsFiles(tmp_path)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def lake_profile(files, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "lake")
    return files


def key_of(access: S3Access) -> str:
    keys = access.keys()
    assert keys is not None
    return keys.access_key_id


def test_a_profile_says_keys_region_and_address(lake_profile):
    lake_profile.keys("other", "OTHER", "hushed")
    lake_profile.keys("lake", "LAKE", "hushed")
    lake_profile.config("[profile lake]\nregion = eu-north-1\nendpoint_url = http://127.0.0.1:9\n")
    assert S3Access().storage_options() == {
        "AWS_ACCESS_KEY_ID": "LAKE",
        "AWS_SECRET_ACCESS_KEY": "hushed",
        "AWS_REGION": "eu-north-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ALLOW_HTTP": "true",
    }


def test_the_address_of_s3_goes_before_that_of_every_service(lake_profile, monkeypatch):
    lake_profile.keys("lake", "LAKE", "hushed")
    lake_profile.config(
        "[profile lake]\nservices = mine\nendpoint_url = https://all\n[services mine]\ns3 =\n  endpoint_url = https://s3\n"
    )
    assert S3Access().settings["AWS_ENDPOINT_URL"] == "https://s3"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://said")
    assert S3Access().settings["AWS_ENDPOINT_URL"] == "https://said", "a variable goes before a file"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://said.s3")
    assert S3Access().settings["AWS_ENDPOINT_URL"] == "https://said.s3"


def test_the_default_profile_needs_no_name(files):
    files.keys("default", "DEFAULT", "hushed")
    files.config("[default]\nregion = eu-north-1\n")
    access = S3Access()
    assert (key_of(access), access.settings["AWS_REGION"]) == ("DEFAULT", "eu-north-1")


def test_keys_in_variables_go_before_a_profile_s(lake_profile, monkeypatch):
    lake_profile.keys("lake", "LAKE", "hushed")
    lake_profile.config("[profile lake]\nregion = eu-north-1\n")
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    access = S3Access()
    assert (key_of(access), access.settings["AWS_REGION"]) == ("OWN", "eu-north-1")


def test_variables_that_are_handed_over_stand_for_the_process_s_own(files, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "other")
    files.keys("other", "OTHER", "hushed")
    files.keys("lake", "LAKE", "hushed")
    assert key_of(S3Access(files.environ | {"AWS_PROFILE": "lake"})) == "LAKE"


def test_who_has_keys_in_variables_and_no_profile_does_not_pay_for_botocore(files):
    code = "import sys; from import_platform.io.lake import Lake; Lake('s3://b/lake').store.storage_options"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('botocore' in sys.modules)"],
        cwd=ROOT,
        env=environment(files.environ | OWN),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


def test_a_profile_that_does_not_exist_is_a_sentence(lake_profile):
    with pytest.raises(ConfigError, match=r"the AWS profile does not exist.*'lake'"):
        Store("s3://bucket/lake")


def test_no_keys_at_all_are_a_sentence_and_no_request(files):
    store = Store("s3://bucket/lake", env=files.environ | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    for ask in (lambda: store.storage_options, lambda: store.put("x", b""), lambda: list(store.entries("x"))):
        with pytest.raises(ConfigError, match="no keys for S3 were found"):
            ask()
    with pytest.raises(ConfigError, match="no keys for S3 were found"), store.open_output("x") as sink:
        sink.write(b"1")
    with pytest.raises(ConfigError, match="no keys for S3 were found"):
        place_of("s3://bucket/*.csv", env=files.environ).found()


def test_half_a_pair_of_keys_is_a_sentence(files, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OWN")
    with pytest.raises(ConfigError, match=r"no keys for S3 can be had.*PartialCredentialsError"):
        S3Access().keys()


def test_a_public_bucket_needs_none(files):
    access = S3Access(files.environ | {"AWS_SKIP_SIGNATURE": "true"})
    assert access.keys() is None
    assert access.storage_options() == {"AWS_SKIP_SIGNATURE": "true", "AWS_REGION": "us-east-1"}


def test_short_lived_keys_are_asked_for_again(lake_profile):
    lake_profile.short_lived("lake")
    access = S3Access()
    assert len({access.storage_options()["AWS_SESSION_TOKEN"] for _ in range(3)}) == 3


@pytest.mark.parametrize("script", ["echo hushed >&2; exit 1", "echo '{\"AccessKeyId\": hushed'", "echo '{}'"])
def test_what_a_process_that_gives_keys_says_is_in_no_error(lake_profile, script):
    (lake_profile.home / "gives.sh").write_text(script)
    lake_profile.config(f"[profile lake]\ncredential_process = sh {lake_profile.home}/gives.sh\n")
    with pytest.raises(ConfigError, match="no keys for S3 can be had") as raised:
        S3Access().keys()
    assert "hushed" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_no_secret_is_in_any_text(files):
    access = S3Access(files.environ | OWN | {"AWS_SESSION_TOKEN": "whispered"})
    store = Store("s3://bucket/lake", env=files.environ | OWN)
    texts = [repr(access), repr(access.keys()), repr(store), repr(access.bucket("s3://b")), str(Keys("a", "hushed"))]
    assert not [text for text in texts if "hushed" in text or "whispered" in text]


class Told(BaseHTTPRequestHandler):
    def told(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def serving(handler: type[Told]) -> Iterator[str]:
    """The address of a server that answers so."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def answers(status: int, told: object) -> AbstractContextManager[str]:
    """A server that says this to every GET."""

    class Handler(Told):
        def do_GET(self) -> None:
            self.told(status, json.dumps(told).encode())

    return serving(Handler)


def test_a_container_s_keys_are_found(files, monkeypatch):
    given = {"AccessKeyId": "POD", "SecretAccessKey": "hushed", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
    with answers(200, given) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        assert S3Access().storage_options()["AWS_ACCESS_KEY_ID"] == "POD"


def instance(given: object) -> AbstractContextManager[str]:
    """An instance's metadata, which want a token of their own in every question."""

    class Handler(Told):
        def do_PUT(self) -> None:
            self.told(200 if self.path == "/latest/api/token" else 404, b"whispered")

        def do_GET(self) -> None:
            role = "/latest/meta-data/iam/security-credentials/"
            told = {role: b"lake", f"{role}lake": json.dumps(given).encode()}.get(self.path)
            trusted = self.headers["X-aws-ec2-metadata-token"] == "whispered"
            self.told(401 if not trusted else 404 if told is None else 200, told or b"")

    return serving(Handler)


def test_an_instance_s_keys_are_found(files, monkeypatch):
    given = {"AccessKeyId": "NODE", "SecretAccessKey": "hushed", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    with instance({"Code": "Success", "Type": "AWS-HMAC", **given}) as url:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"{url}/")
        assert S3Access().storage_options()["AWS_ACCESS_KEY_ID"] == "NODE"


def test_who_does_not_answer_is_asked_again_by_the_next_run(files, monkeypatch):
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    with answers(500, {}) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        with pytest.raises(StoreUnavailable, match="did not answer"):
            Store("s3://bucket/lake").put("x", b"")
        with pytest.raises(SourceUnavailable, match="did not answer"):
            place_of("s3://bucket/*.csv").found()


SSO = """\
[profile lake]
sso_session = ours
sso_account_id = 123456789012
sso_role_name = reader
[sso-session ours]
sso_region = eu-north-1
sso_start_url = https://ours.awsapps.com/start
"""


@pytest.mark.slow
@pytest.mark.parametrize("until", ["2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"])
def test_a_login_s_keys_are_found_until_it_ends(lake_profile, until):
    """What `aws sso login` leaves; botocore looks for it where the process's home was at its start."""
    lake_profile.config(SSO)
    cache = lake_profile.home / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {"accessToken": "whispered", "expiresAt": until, "region": "eu-north-1"}
    (cache / f"{hashlib.sha1(b'ours').hexdigest()}.json").write_text(json.dumps(token))
    given = {"accessKeyId": "LOGIN", "secretAccessKey": "hushed", "sessionToken": "t", "expiration": 4070908800000}
    code = "from import_platform.s3 import S3Access; print(S3Access().keys().access_key_id)"
    with answers(200, {"roleCredentials": given}) as url:
        environ = environment(lake_profile.environ | {"AWS_PROFILE": "lake", "AWS_ENDPOINT_URL_SSO": url})
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    if until.startswith("2099"):
        assert done.stdout == "LOGIN\n"
    else:
        assert "ConfigError: no keys for S3 can be had (profile 'lake'" in done.stderr
    assert "whispered" not in done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with s3_server() as environ:
        yield environ


@pytest.fixture
def bucket(server):
    return new_bucket(server)


@pytest.fixture
def leading(bucket, lake_profile, server, monkeypatch):
    """The address of a bucket behind a proxy, which is what the process's variables lead to, and the proxy."""
    uri = bucket
    with fault_proxy(server) as (proxy, environ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", environ["AWS_ENDPOINT_URL"])
        yield uri, proxy


@pytest.fixture
def asking_each_time(monkeypatch):
    """obstore holds no keys."""
    monkeypatch.setattr("import_platform.s3.HELD", timedelta(minutes=5))


@pytest.mark.slow
def test_a_role_is_taken_on_with_a_profile_s_keys(leading, lake_profile, monkeypatch):
    """By the same server, which is moto's STS as well; the region stands where boto3 itself would not look."""
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    uri, proxy = leading
    lake_profile.keys("base", "BASE", "hushed")
    role = "arn:aws:iam::123456789012:role/lake"
    lake_profile.config(f"[profile lake]\nrole_arn = {role}\nsource_profile = base\n")
    store = Store(uri)
    store.put("x", b"1")
    assert proxy.access_keys() == {"BASE", store.storage_options["AWS_ACCESS_KEY_ID"]}
    assert store.storage_options["AWS_SESSION_TOKEN"]


@pytest.mark.slow
def test_obstore_asks_again_before_what_it_holds_has_ended(leading, lake_profile, asking_each_time):
    uri, proxy = leading
    lake_profile.short_lived("lake")
    store = Store(uri)
    for _ in range(3):
        store.put("x", b"1")
        time.sleep(ONCE_IN_SECONDS)
    assert len(proxy.access_keys()) == 3


@pytest.mark.slow
def test_a_file_that_is_being_read_when_the_keys_end_is_not_taken_for_damaged(leading, lake_profile, asking_each_time):
    """A reader of obstore raises OSError there, as the reader of a broken file does."""
    uri, _ = leading
    lake_profile.short_lived("lake")
    packed = gzip.compress(bytes(Random(1).randbytes(3 << 20)))
    Store(uri).put("a.gz", packed)
    place = place_of(f"{uri}/*.gz")
    [found] = place.found()
    with parts_of(found.path, place.open(found.path), size_bytes=len(packed), max_expansion=10) as [part]:
        stream = part.open()
        assert len(stream.read(10)) == 10
        (lake_profile.home / "gives.sh").write_text("exit 1")
        time.sleep(ONCE_IN_SECONDS)
        with pytest.raises(ConfigError, match="no keys for S3 can be had"):
            while stream.read(1 << 20):
                pass


@pytest.mark.slow
def test_duckdb_is_told_the_keys_of_now(leading, lake_profile, monkeypatch):
    uri, _ = leading
    lake_profile.short_lived("lake")
    monkeypatch.setenv("IMPORT_PLATFORM_LAKE", uri)
    monkeypatch.setenv("IMPORT_PLATFORM_MEMORY", "1GiB")
    plugin = Plugin("import_platform", {})
    with duckdb.connect(config=dict(CLOSED)) as connection:
        plugin.configure_connection(connection)
        first = secret(connection)
        plugin.configure_cursor(connection.cursor())
        second = secret(connection)
    assert first != second
    assert "hushed" not in first + second


def secret(connection):
    [(text,)] = connection.execute("SELECT secret_string FROM duckdb_secrets()").fetchall()
    assert text.count("key_id=KEY") == 1
    return text


@pytest.mark.parametrize(
    "address", ["s3:///a/*.csv", "s3://me:hushed@b b/*.csv", "s3://[b/*.csv", "s3://b:99999/*.csv"]
)
def test_an_address_without_a_bucket_is_a_sentence(address):
    with pytest.raises(ConfigError, match="names no bucket of S3") as error:
        place_of(address, env={})
    assert "hushed" not in str(error.value)


def test_files_in_a_bucket_that_does_not_exist_are_their_owner_s_matter():
    with s3_server() as environ, pytest.raises(SourceRejected, match="the bucket does not exist") as error:
        place_of("s3://no-such-bucket-here/a/*.csv", env=environ).found()
    assert not error.value.retryable
    assert "no-such-bucket-here" in str(error.value)
