"""The shipped models on the demo's lake: green, right, offline, inside the budget, and without reading what they need not."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.dbt.conftest import Project

pytestmark = pytest.mark.slow


def test_the_mart_says_what_duckdb_counts_on_the_lake(built: Project) -> None:
    with built.connect() as connection:
        mart = connection.execute(
            "SELECT carrier, airline, month, flights, cancelled, arrived_on_time, percent_on_time "
            "FROM marts.punctuality_by_carrier_month ORDER BY carrier, month"
        ).fetchall()
        lake = connection.execute(
            f"""
            SELECT f.carrier, a.name, make_date(year, month, 1), count(*), sum((dep_time IS NULL)::int)::bigint,
                   coalesce(sum((arr_delay < 16)::int), 0)::bigint,
                   round(100 * sum((arr_delay < 16)::int) / count(arr_delay), 2)
            FROM {built.scan("flights")} f JOIN {built.scan("airlines")} a ON a.carrier = f.carrier
            GROUP BY ALL ORDER BY 1, 3
            """
        ).fetchall()
    assert len(mart) >= 2 * 14  # carriers in each of two months
    assert mart == lake


def test_every_model_and_test_of_the_project_ran(built: Project) -> None:
    results = json.loads((built.folder / "target" / "run_results.json").read_text("utf-8"))["results"]
    assert {result["status"] for result in results} == {"success", "pass"}
    models = {path.stem for path in (built.folder / "models").rglob("*.sql")}
    assert {r["unique_id"].split(".")[-1] for r in results if r["unique_id"].startswith("model.")} == models


def test_a_month_of_flights_is_read_from_the_leaves_that_can_hold_it(built: Project) -> None:
    inline = (
        "SELECT sum(departure_delay_minutes) AS minutes, count(*) AS flights FROM {{ ref('stg_flights') }} "
        "WHERE {{ in_time('created_at', '2013-02-01', '2013-02-11') }}"
    )
    done = built.dbt("compile", "--quiet", "--inline", inline)
    assert done.returncode == 0, done.stdout
    with built.connect() as connection:
        filtered = re.sub(r'"?dbt"?\.', "", done.stdout.strip())
        plan = connection.execute(f"EXPLAIN ANALYZE {filtered}").fetchall()[0][1]
        read, of = map(int, re.search(r"Scanning Files: (\d+)/(\d+)", plan).groups())
        in_february = connection.execute(
            f"SELECT sum(dep_delay), count(*) FROM {built.scan('flights')} "
            "WHERE created_at >= '2013-02-01' AND created_at < '2013-02-11'"
        ).fetchone()
        assert connection.execute(filtered).fetchone() == in_february
    assert 0 < read < of
    assert "air_time" not in plan  # a column that is not asked for is not read


def test_sources_tell_columns_types_places_and_assets(built: Project) -> None:
    text = (built.folder / "models" / "lake_sources.yml").read_text("utf-8")
    sources = {source["name"]: source["tables"] for source in yaml.safe_load(text)["sources"]}
    flights = next(table for table in sources["nyc"] if table["name"] == "flights")
    columns = {column["name"]: column["data_type"] for column in flights["columns"]}
    assert columns["id"] == "BIGINT"
    assert columns["created_at"] == "TIMESTAMP WITH TIME ZONE"
    assert "_partition" not in columns
    assert flights["config"]["meta"] == {
        "external_location": built.scan("flights"),
        "dagster": {"asset_key": ["nyc", "flights"]},
    }
    assert {table["name"] for table in sources["_ops"]} >= {"runs", "usage"}


def test_dbt_works_inside_the_budget_and_downloads_nothing(built: Project) -> None:
    asked = (
        "SELECT name || '=' || value FROM duckdb_settings() WHERE name IN "
        "('memory_limit', 'temp_directory', 'autoinstall_known_extensions', 'TimeZone')"
    )
    done = built.dbt("show", "--quiet", "--output", "json", "--inline", asked)
    assert done.returncode == 0, done.stdout
    settings = dict(next(iter(row.values())).split("=", 1) for row in json.loads(done.stdout)["show"])
    number, unit = settings["memory_limit"].split()
    assert float(number) * {"MiB": 1 << 20, "GiB": 1 << 30}[unit] < 500 * 10**6  # half of what 1 GB leaves free
    assert "import_platform" in settings["temp_directory"]
    assert settings["autoinstall_known_extensions"] == "false"
    assert settings["TimeZone"] == "UTC"
    assert not (built.folder / "packages.yml").exists()
