"""One broken file never takes another source down, and its mistake is one sentence with the place."""

from __future__ import annotations

import textwrap

import pytest

from import_platform.components.declaration import TableYaml
from import_platform.components.loading import load_sources
from import_platform.errors import ConfigError

GOOD = """\
type: import_platform.components.ExternalSource
attributes:
  name: {name}
  connection: {{kind: sqlite, path: "{{{{ env.SHOP_DB }}}}"}}
  tables:
    - name: orders
"""


@pytest.fixture
def write(tmp_path):
    def write(folder, text):
        path = tmp_path / folder / "defs.yaml"
        path.parent.mkdir()
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def problem(tmp_path, write):
    """The only sentence about a file with this text."""

    def problem(text):
        write("shop", text)
        [broken] = load_sources([tmp_path]).broken
        [only] = broken.problems
        return str(only).removeprefix(f"{tmp_path}/shop/")

    return problem


def _attributes(*lines):
    return "\n".join(
        ["type: import_platform.components.ExternalSource", "attributes:", *(f"  {line}" for line in lines)]
    )


NAMED = ("name: shop", "connection: {kind: sqlite, path: shop.db}")


def test_sources_come_in_the_order_of_their_folders(tmp_path, write):
    for name in ("zoo", "ape"):
        write(name, GOOD.format(name=name))
    assert [source.name for source in load_sources([tmp_path]).sources] == ["ape", "zoo"]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (
            (*NAMED, 'schedule: "0 0 * * *"', 'schedule: "0 1 * * *"'),
            "defs.yaml:6: attributes.schedule is given a second time, after line 5",
        ),
        ((*NAMED, "name: other"), "defs.yaml:5: attributes.name is given a second time, after line 3"),
        ((*NAMED, '"name": shop'), "defs.yaml:5: attributes.name is given a second time, after line 3"),
        (
            (*NAMED, "tables:", "  - name: orders", "    cursor: a", "    cursor: b"),
            "defs.yaml:8: attributes.tables[0].cursor is given a second time, after line 7",
        ),
        (
            ("name: shop", "connection: {kind: sqlite, path: a.db, path: b.db}"),
            "defs.yaml:4: attributes.connection.path is given a second time, after line 4",
        ),
    ],
)
def test_a_key_given_twice_is_refused_with_both_lines(problem, lines, sentence):
    assert problem(_attributes(*lines)) == sentence


def test_a_key_given_twice_breaks_its_own_document_only(tmp_path, write):
    write("both", f"{GOOD.format(name='shop')}---\n{GOOD.format(name='crm')}  name: crm\n")
    catalog = load_sources([tmp_path])
    assert [source.name for source in catalog.sources] == ["shop"]
    assert [broken.name for broken in catalog.broken] == ["crm"]


def test_aliases_and_merged_mappings_repeat_no_key(tmp_path, write):
    tables = ("tables:", "  - &first {name: orders, cursor: id}", "  - <<: *first", "    name: items", "    <<: *first")
    write("shop", _attributes(*NAMED, *tables))
    [source] = load_sources([tmp_path]).sources
    assert [table.name for table in source.tables] == ["orders", "items"]


def test_a_mapping_that_holds_itself_is_read_without_an_end(tmp_path, write):
    write("shop", _attributes(*NAMED, "where: &loop {again: *loop}"))
    assert [broken.name for broken in load_sources([tmp_path]).broken] == ["shop"]


def test_a_folder_without_a_file_is_no_source(tmp_path):
    (tmp_path / "notes").mkdir()
    catalog = load_sources([tmp_path])
    assert (catalog.sources, catalog.broken) == ((), ())


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "",
        "just a text",
        "type: import_platform.components.Unknown\nattributes: {}",
        "\x00",
        _attributes("name: bad", "connection: {kind: nosuch}"),
        GOOD.format(name="shop"),
    ],
    ids=["no yaml", "empty", "no mapping", "unknown type", "binary", "unknown kind", "name taken"],
)
def test_a_broken_file_disables_only_its_source(tmp_path, write, text):
    write("a_shop", GOOD.format(name="shop"))
    write("bad", text)
    catalog = load_sources([tmp_path])
    assert [source.name for source in catalog.sources] == ["shop"]
    assert len(catalog.broken) == 1


def test_a_file_that_is_not_utf8_is_a_sentence(tmp_path, write):
    write("bad", "").write_bytes(b"\xff\xfe\xfa")
    assert "cannot be read as YAML" in str(load_sources([tmp_path]).broken[0].problems[0])


def test_an_unknown_key_is_named_with_the_closest_one(problem):
    text = problem(_attributes(*NAMED, "tables:", "  - name: orders", "    cursr: updated_at"))
    assert text == (
        "defs.yaml:7: attributes.tables[0].cursr is not a key here (did you mean cursor?); "
        f"allowed: {', '.join(sorted(TableYaml.model_fields))}"
    )


def test_a_wrong_word_is_answered_with_the_allowed_ones(problem):
    text = problem(_attributes(*NAMED, "tables:", "  - name: orders", "    sync: incrementl"))
    assert text == (
        "defs.yaml:7: attributes.tables[0].sync is 'incrementl'; "
        "allowed: full_refresh, incremental, append (did you mean incremental?)"
    )


def test_a_wrong_word_inside_a_partition(problem):
    text = problem(_attributes(*NAMED, "tables:", "  - {name: a, partition: {column: b, granularity: weeks}}"))
    assert text.startswith("defs.yaml:6: attributes.tables[0].partition.granularity is 'weeks'; allowed: year, month")


def test_a_missing_key_is_named_where_it_should_stand(problem):
    assert problem(_attributes(NAMED[1])) == "defs.yaml:2: attributes.name is missing"


def test_a_wrong_type_says_what_was_found(problem):
    assert problem(_attributes(*NAMED, "schedule: 15")) == (
        "defs.yaml:5: attributes.schedule should be a valid string; found '15'"
    )


def test_a_kind_that_does_not_exist_is_answered_with_those_that_do(problem):
    text = problem(_attributes("name: shop", "connection: {kind: postgress, dsn: x}"))
    assert "attributes.connection" in text
    assert "postgres" in text
    assert "sqlite" in text


def test_a_key_of_the_file_is_checked_too(problem):
    assert "atributes is not a key here (did you mean attributes?)" in problem(
        "type: import_platform.components.ExternalSource\natributes: {}\nattributes: {}"
    )


def test_broken_yaml_says_where(problem):
    assert problem("type: x\nattributes: {name: [\n").startswith("defs.yaml:3: is not YAML: while parsing")


@pytest.mark.parametrize(
    "text",
    [
        _attributes("name: shop", "connection: postgres://u:hunter2/x"),
        _attributes("name: shop", "connection: {kind: postgres, dsn: hunter2, pasword: hunter2}"),
        _attributes("name: shop", "connection: {kind: postgres, dsn: *hunter2}"),
        _attributes("name: shop", "connection: {kind: postgres, dsn: !hunter2 a}"),
        _attributes("name: shop", "connection: {kind: postgres, dsn: 'hunter2}"),
        _attributes(*NAMED, "tables: postgres://u:hunter2@x"),
        _attributes(*NAMED, "password: hunter2"),
    ],
    ids=["text", "unknown key", "alias", "tag", "open quote", "wrong place", "extra key"],
)
def test_no_mistake_quotes_a_secret(tmp_path, write, text):
    write("shop", text)
    [broken] = load_sources([tmp_path]).broken
    assert "hunter2" not in f"{broken.error} {broken.error!r}"


def test_one_mistake_does_not_hide_the_next(tmp_path, write):
    write("shop", _attributes("nam: shop", *NAMED[1:], "schedule: never", "tables: [{nme: a}]"))
    [broken] = load_sources([tmp_path]).broken
    assert [p.key_path for p in broken.problems] == [
        "attributes.name",
        "attributes.schedule",
        "attributes.tables[0].name",
        "attributes.tables[0].nme",
        "attributes.nam",
    ]


def test_a_name_used_twice_belongs_to_the_first_file(tmp_path, write):
    first = write("a", GOOD.format(name="shop"))
    write("b", GOOD.format(name="shop"))
    catalog = load_sources([tmp_path])
    assert catalog.sources[0].origin.path == first
    assert str(catalog.broken[0].problems[0]).endswith(f"'shop' is already declared in {first}")


def test_two_sources_may_share_a_file(tmp_path, write):
    write("both", GOOD.format(name="one") + "---\n" + GOOD.format(name="two"))
    assert [source.name for source in load_sources([tmp_path]).sources] == ["one", "two"]


def test_a_missing_folder_is_told_and_the_others_load(tmp_path, write):
    write("shop", GOOD.format(name="shop"))
    catalog = load_sources([tmp_path / "nowhere", tmp_path])
    assert [source.name for source in catalog.sources] == ["shop"]
    assert "does not exist" in str(catalog.broken[0].error)


def test_asking_for_a_broken_source_says_what_is_wrong_with_it(tmp_path, write):
    write("shop", _attributes(*NAMED, "schedule: never"))
    with pytest.raises(ConfigError, match="must be a cron"):
        load_sources([tmp_path]).source("shop")


def test_asking_for_an_unknown_source_names_the_closest(tmp_path, write):
    write("shop", GOOD.format(name="shop"))
    with pytest.raises(ConfigError, match=r"there is no source 'shp' \(did you mean shop\?\)"):
        load_sources([tmp_path]).source("shp")


def test_a_source_remembers_the_lines_of_its_tables(tmp_path, write):
    path = write("shop", GOOD.format(name="shop"))
    origin = load_sources([tmp_path]).sources[0].origin
    assert (origin.path, origin.line, dict(origin.table_lines)) == (path, 1, {"orders": 6})


def test_an_entry_of_a_mapping_is_named_with_what_is_allowed(problem):
    text = problem(_attributes(*NAMED, "tables:", "  - name: orders", "    mask: {name: rot13}"))
    assert text == "defs.yaml:7: attributes.tables[0].mask.name is 'rot13'; allowed: hash, redact"


@pytest.mark.parametrize("key", ["columns", "mask"])
def test_a_list_where_a_mapping_is_meant_is_a_sentence(problem, key):
    text = problem(_attributes(*NAMED, "tables:", "  - name: orders", f"    {key}: [id]"))
    assert text == f"defs.yaml:7: attributes.tables[0].{key} must be a mapping; found a list"
