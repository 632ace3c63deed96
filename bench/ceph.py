"""A Ceph of one monitor, one disk and one S3 gateway in a temporary folder: real object storage without a cluster.

Needs Debian's ceph-mon, ceph-osd, ceph-common and radosgw. Everything listens on 127.0.0.1 and dies with the block.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import boto3

HOST, REGION = "127.0.0.1", "us-east-1"
KEY, SECRET = "bench", "bench"
START_SECONDS = 300.0
NEEDED = ("ceph-mon", "ceph-osd", "radosgw", "ceph", "ceph-authtool", "monmaptool", "radosgw-admin")
CONF = """\
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v1:{host}:{mon}]
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
ms_bind_msgr2 = false
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_data_avail_crit = 1
mon_data_avail_warn = 1
mon_max_pg_per_osd = 500
mon_warn_on_pool_no_redundancy = false
osd_class_update_on_start = false
osd_crush_update_on_start = false
osd_memory_target = 1G
bluestore_block_size = {disk_bytes}
run_dir = {root}
admin_socket = {root}/$name.asok
log_file = {root}/$name.log
pid_file = {root}/$name.pid
keyring = {root}/keyring
[mon.a]
host = localhost
mon_data = {root}/mon
[osd.0]
host = localhost
osd_data = {root}/osd
keyring = {root}/osd/keyring
[client.rgw]
rgw_frontends = beast endpoint={host}:{gateway}
rgw_data = {root}/rgw
"""


@contextmanager
def ceph(buckets: Sequence[str], *, disk_bytes: int = 8 << 30) -> Iterator[dict[str, str]]:
    """The AWS_* variables of a running gateway with these buckets.

    Raises:
        RuntimeError: a package is missing, or with its last words, a program that does not start.
    """
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        raise RuntimeError(
            f"missing: {', '.join(missing)}; Debian has them in ceph-mon, ceph-osd, ceph-common, radosgw"
        )
    root = Path(tempfile.mkdtemp(prefix="import_platform-ceph-"))
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        url = f"http://{HOST}:{_start(_Cluster(root), daemons, disk_bytes)}"
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        client = boto3.client("s3", endpoint_url=url, region_name=REGION, **keys)
        for bucket in buckets:
            client.create_bucket(Bucket=bucket)
        yield {"AWS_ENDPOINT_URL": url, "AWS_REGION": REGION} | {name.upper(): value for name, value in keys.items()}
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(root, ignore_errors=True)


@dataclass(frozen=True)
class _Cluster:
    root: Path

    def path(self, name: str) -> str:
        return str(self.root / name)

    def run(self, *command: str, stdin: str | None = None) -> str:
        """What the program says. ceph-authtool and monmaptool take no configuration."""
        conf = () if command[0] in ("ceph-authtool", "monmaptool") else ("-c", self.path("ceph.conf"))
        done = subprocess.run([*command, *conf], input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[:3])}: {done.stderr[-2000:]}")
        return done.stdout

    def daemon(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.root / f"{command[0]}.out").open("wb") as log:
            whole = [*command, "-c", self.path("ceph.conf"), "-f"]
            return subprocess.Popen(whole, stdout=log, stderr=log, cwd=self.root)


def _start(cluster: _Cluster, daemons: list[subprocess.Popen[bytes]], disk_bytes: int) -> int:
    """The gateway's port, once all three listen."""
    mon, gateway, fsid, disk = _free_port(), _free_port(), str(uuid.uuid4()), str(uuid.uuid4())
    conf = CONF.format(root=cluster.root, fsid=fsid, host=HOST, mon=mon, gateway=gateway, disk_bytes=disk_bytes)
    cluster.root.joinpath("ceph.conf").write_text(conf)
    for name in ("mon", "osd", "rgw"):
        cluster.root.joinpath(name).mkdir()
    run, keyring, monmap = cluster.run, cluster.path("keyring"), cluster.path("monmap")
    mon_rights, rights = ["--cap", "mon", "allow *"], ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
    run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", *mon_rights)
    run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", *rights, "--cap", "mgr", "allow *")
    run("ceph-authtool", keyring, "--gen-key", "-n", "client.rgw", *rights)
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v1:{HOST}:{mon}]", monmap)
    run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
    daemons.append(cluster.daemon("ceph-mon", "-i", "a"))
    _wait(lambda: run("ceph", "--connect-timeout", "5", "-s"))
    secret = run("ceph-authtool", "--gen-print-key").strip()
    run("ceph", "osd", "new", disk, "-i", "-", stdin=json.dumps({"cephx_secret": secret}))
    run("ceph-authtool", "--create-keyring", cluster.path("osd/keyring"), "--name", "osd.0", "--add-key", secret)
    run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
    run("ceph", "osd", "crush", "add", "osd.0", "1", "root=default")
    daemons += [cluster.daemon("ceph-osd", "-i", "0"), cluster.daemon("radosgw", "-n", "client.rgw")]
    _wait(lambda: socket.create_connection((HOST, gateway), 1).close())
    user = ["--uid=bench", "--display-name=bench", f"--access-key={KEY}", f"--secret={SECRET}"]
    run("radosgw-admin", "user", "create", *user)
    return gateway


def _wait(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ready()
        except (RuntimeError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def main(*buckets: str) -> None:
    """For a parent that has no boto3: prints the gateway's port, and stops when standard input ends."""
    with ceph(buckets) as environ:
        sys.stdout.write(f"{urlsplit(environ['AWS_ENDPOINT_URL']).port}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
