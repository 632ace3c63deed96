from tests.dagster_project import project  # noqa: F401
