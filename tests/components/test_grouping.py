"""What may be written in the defs.yaml of a grouping, what it becomes, and what Dagster shows of it."""

from __future__ import annotations

import dagster as dg
import pytest

from import_platform.components.grouping import Grouping
from import_platform.components.loading import load_sources
from import_platform.core.grouping import DeclaredGrouping
from import_platform.definitions import build_definitions
from tests.dagster_project import SHOP

WHOLE = """\
type: import_platform.components.Grouping
attributes:
  name: by_address
  files: measurements/*.parquet
  by: [address]
  order_by: [at]
  columns: [at, value]
  output: grouped
  split: {train: 0.8, test: 0.2}
  sort: true
  schedule: "0 3 * * *"
  owners: [team:network]
  group: ml
"""
OF_TABLE = """\
type: import_platform.components.Grouping
attributes: {name: by_month, table: shop/orders, by: [created_at], order_by: [id], output: grouped}
"""


@pytest.fixture
def declared(tmp_path):
    def declare(*texts):
        for number, text in enumerate(texts):
            (tmp_path / str(number)).mkdir(exist_ok=True)
            (tmp_path / str(number) / "defs.yaml").write_text(text)
        return load_sources([tmp_path])

    return declare


def test_everything_written_is_taken(declared):
    [found] = declared(WHOLE).groupings
    assert found.declared == DeclaredGrouping(
        "by_address", "grouped", ("address",), ("at",), ("at", "value"), files="measurements/*.parquet",
        shares={"train": 0.8, "test": 0.2}, sort=True, schedule="0 3 * * *", labels=found.declared.labels,
    )  # fmt: skip
    assert (found.declared.labels.owners, found.declared.labels.group) == (("team:network",), "ml")
    assert found.origin.path.name == "defs.yaml"


def test_it_stands_beside_sources_and_may_have_the_name_of_one(declared):
    catalog = declared(SHOP, WHOLE.replace("by_address", "shop"))
    assert not catalog.broken
    assert [each.name for each in catalog.sources + catalog.groupings] == ["shop", "shop"]


def test_two_of_one_name_are_refused(declared):
    [broken] = declared(WHOLE, WHOLE).broken
    assert "'by_address' is already declared" in str(broken.error)


def test_lineage_leads_from_files_and_from_the_table_that_is_grouped(declared):
    definitions = build_definitions(declared(SHOP, WHOLE, OF_TABLE), strict=True)
    graph = definitions.resolve_asset_graph()
    assert graph.get(dg.AssetKey(["by_address"])).parent_keys == {dg.AssetKey(["by_address", "input"])}
    assert graph.get(dg.AssetKey(["by_address", "input"])).metadata["files"] == "measurements/*.parquet"
    assert graph.get(dg.AssetKey(["by_month"])).parent_keys == {dg.AssetKey(["shop", "orders"])}
    assert graph.get(dg.AssetKey(["by_month"])).automation_condition is not None
    assert graph.get(dg.AssetKey(["by_address"])).automation_condition is None, "it has a schedule"
    [schedule] = [each for each in definitions.schedules if each.name == "group_by_address"]
    assert schedule.cron_schedule == "0 3 * * *"
    job = definitions.resolve_job_def("group_by_address")
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == {"by_address"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("files: measurements/*.parquet", "table: shop/orders\n  files: x"), "needs either files"),
        (("  files: measurements/*.parquet\n", ""), "needs either files"),
        (("order_by: [at]", "order_by: [address]"), "each once"),
        (("columns: [at, value]", "columns: [address]"), "cannot become a list too"),
        (("test: 0.2", "test: 0.3"), "more than everything"),
        (("test: 0.2", "test: 0"), "above 0"),
        (("test: 0.2", "../x: 0.2"), "should match pattern"),
        (("by: [address]", "by: []"), "at least 1"),
        (("sort: true", "sort: maybe"), "valid boolean"),
        (("output: grouped", "outptu: grouped"), "did you mean output?"),
        (('"0 3 * * *"', "daily"), "must be a cron schedule"),
        (("output: grouped", 'output: "{{ env.OUT }}"'), "is taken as it stands"),
        (("components.Grouping", "components.Group"), "import_platform.components.Grouping"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_file_line_and_reason(declared, change, said):
    catalog = declared(WHOLE.replace(*change), SHOP)
    [broken] = catalog.broken
    assert said in str(broken.error)
    assert "defs.yaml:" in str(broken.error)
    assert [source.name for source in catalog.sources] == ["shop"], "the others go on"


def test_dg_and_editors_know_the_words():
    words = Grouping.model().model_json_schema()["properties"]
    assert {"files", "table", "by", "order_by", "columns", "output", "split", "sort", "schedule"} <= set(words)
    assert all(word.get("description") for word in words.values())
