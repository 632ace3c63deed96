from tests.dagster_project import empty_home, project

__all__ = ["empty_home", "project"]
