"""What a DuckDB needs to read the lake: extensions from their wheels, the lake's keys, and nothing from the network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import duckdb

from import_platform.errors import ConfigError
from import_platform.io.store import Store

CLOSED: Mapping[str, str] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
}
"""Settings of every DuckDB of ours: it downloads nothing and keeps no secret."""


def load_extensions(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Lets the connection read the tables of the lake with `delta_scan`.

    Raises:
        ConfigError: an extension is not installed, or DuckDB does not take the lake's credentials.
    """
    # From the wheels by path: INSTALL would go to the network.
    for name in ("delta",) if store.is_local else ("httpfs", "delta"):
        connection.execute(f"LOAD {literal(str(extension_path(name)))}")
    give_keys(connection, store)


def give_keys(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Tells DuckDB the lake's keys of now. Tell it again before later statements: it cannot renew keys that end.

    Raises as `load_extensions`."""
    if store.is_local:
        return
    options = store.storage_options
    try:
        connection.execute(_secret_sql(store.uri, options))
    except duckdb.Error:
        # DuckDB quotes the statement, and with it the secret key, in its message: drop it.
        raise ConfigError(
            "the lake's credentials were not accepted by DuckDB",
            lake=store.uri,
            remedy="Check the AWS_* variables.",
        ) from None


def extension_path(name: str) -> Path:
    """Where the wheel `duckdb-extension-<name>` keeps the binary for the installed DuckDB.

    Raises:
        ConfigError: it is not installed, or for another DuckDB.
    """
    package = find_spec(f"duckdb_extension_{name}")
    folders = list(package.submodule_search_locations or []) if package else []
    for folder in folders:
        path = Path(folder) / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
        if path.is_file():
            return path
    raise ConfigError(
        "a DuckDB extension is missing",
        extension=name,
        duckdb=duckdb.__version__,
        remedy=f"Install duckdb-extension-{name}=={duckdb.__version__}.",
    )


def _secret_sql(uri: str, options: Mapping[str, str]) -> str:
    """DuckDB's own S3 secret."""
    endpoint = options.get("AWS_ENDPOINT_URL", "")
    virtual_host = options.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() in ("true", "1")
    settings = {
        "key_id": options.get("AWS_ACCESS_KEY_ID"),
        "secret": options.get("AWS_SECRET_ACCESS_KEY"),
        "session_token": options.get("AWS_SESSION_TOKEN"),
        "region": options.get("AWS_REGION"),
        "endpoint": endpoint.split("://")[-1].rstrip("/"),
        "url_style": "path" if endpoint and not virtual_host else None,
        "scope": uri,
    }
    pairs = [f"{name} {literal(value)}" for name, value in settings.items() if value]
    if endpoint.startswith("http://"):
        pairs.append("use_ssl false")
    return f"CREATE OR REPLACE SECRET lake (TYPE s3, {', '.join(pairs)})"


def literal(text: str) -> str:
    """The text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
