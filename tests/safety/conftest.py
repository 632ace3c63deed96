"""The MariaDB of the connectors' tests."""

from tests.sources.conftest import mariadb, mariadb_port

__all__ = ["mariadb", "mariadb_port"]
