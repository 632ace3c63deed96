"""What a release says of the packages that come with it is true, whole and follows its schema."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from email.message import Message
from importlib.metadata import Distribution
from typing import Any, cast

import pytest

from import_platform import __version__
from release import licences, materials
from release.packages import SHIPPED, installed_packages, shipped_packages

AT = datetime(2026, 1, 2, tzinfo=UTC)
PACKAGES = shipped_packages(*SHIPPED)


class Said(Distribution):
    """A package whose metadata are these lines."""

    def __init__(self, name: str = "stranger", **fields: str | list[str]) -> None:
        self._message = Message()
        for field, values in {"Name": name, "Version": "1.0", **fields}.items():
            for value in [values] if isinstance(values, str) else values:
                self._message[field.replace("_", "-")] = value

    @property
    def metadata(self) -> Any:
        return self._message

    def read_text(self, filename: str) -> None:
        return None

    locate_file = cast(Any, None)


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(materials.as_json(materials.bill_of_materials(PACKAGES, at=AT))))


def test_every_extra_is_shipped_but_for_those_of_the_project_itself() -> None:
    declared = tomllib.loads((materials.LOCK.parent / "pyproject.toml").read_text("utf-8"))["project"]
    assert {*SHIPPED, "docs", "dev"} == declared["optional-dependencies"].keys()


def test_every_installed_package_has_a_permissive_licence_or_stands_on_the_list() -> None:
    locked = materials.locked_versions()
    found = {name: licences.licence_of(package) for name, package in installed_packages().items() if name in locked}
    assert len(found) > 150
    assert licences.refused(found) == {}


def test_the_list_names_no_package_that_is_gone_or_that_needs_no_exception() -> None:
    said, accepted = licences.stated()
    assert {*said, *accepted} <= installed_packages().keys()
    assert [name for name, one in accepted.items() if licences.permissive(one.licence) or not one.why] == []


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT AND ISC) OR AGPL-3.0-only", True),
        ("MIT AND (ISC OR GPL-2.0-only)", True),
        ("LGPL-3.0-or-later", False),
        ("Apache-2.0 WITH LLVM-exception", False),
        (licences.UNKNOWN, False),
        ("MIT AND", False),
    ],
)
def test_a_choice_is_permissive_by_its_best_part_and_a_sum_by_its_worst(licence: str, allowed: bool) -> None:
    assert licences.permissive(licence) is allowed
    assert (licences.refused({"stranger": licence}) == {}) is allowed


def test_a_package_on_the_list_is_refused_under_another_licence() -> None:
    assert licences.refused({"certifi": "MPL-2.0"}) == {}
    assert licences.refused({"certifi": "GPL-3.0-only"}) == {"certifi": "GPL-3.0-only"}


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": "MIT OR Apache-2.0", "License": "something"}, "MIT OR Apache-2.0"),
        ({"License": "Apache License, Version 2.0"}, "Apache-2.0"),
        ({"License": "All rights reserved"}, licences.UNKNOWN),
        ({"License": "Copyright (c) 2026", "Classifier": "License :: OSI Approved :: MIT License"}, "MIT"),
        ({"Classifier": ["License :: OSI Approved :: MIT License", "License :: OSI Approved :: ISC License (ISCL)"]}, licences.UNKNOWN),
        ({"License_Expression": "LicenseRef-Proprietary"}, licences.UNKNOWN),
        ({}, licences.UNKNOWN),
    ],
)  # fmt: skip
def test_a_licence_is_taken_from_where_it_is_said_best_and_never_guessed(
    fields: dict[str, str | list[str]], licence: str
) -> None:
    assert licences.licence_of(Said(**fields)) == licence


def test_the_bill_names_every_package_with_the_version_of_the_lock_and_its_licence(bill: dict[str, Any]) -> None:
    assert materials.not_locked(PACKAGES) == {}
    locked = materials.locked_versions()
    listed = {part["name"]: part for part in bill["components"]}
    assert listed.keys() == PACKAGES.keys()
    assert all(part["version"] in locked[name] and len(part["licenses"]) == 1 for name, part in listed.items())
    assert bill["metadata"]["component"]["version"] == __version__
    assert (listed["deltalake"]["scope"], listed["dbt-core"]["scope"]) == ("required", "optional")
    assert "pytest" not in listed


def test_the_bill_says_what_asks_for_what(bill: dict[str, Any]) -> None:
    asks = {one["ref"].partition("@")[0]: one.get("dependsOn", []) for one in bill["dependencies"]}
    brought = {ref for refs in asks.values() for ref in refs}
    assert brought == {part["bom-ref"] for part in bill["components"]}, "nothing comes without somebody who asks for it"
    assert any("dagster-shared@" in ref for ref in asks["pkg:pypi/dagster"])


def test_the_same_packages_make_the_same_bill() -> None:
    first, second = (materials.as_json(materials.bill_of_materials(PACKAGES, at=AT)) for _ in range(2))
    assert first == second


def test_a_release_of_what_is_not_locked_or_not_permitted_is_refused(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(materials, "shipped_packages", lambda *extras: {"stranger": Said(License="GPL-3.0-only")})
    assert materials.main(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []
    told = capsys.readouterr().err
    assert "stranger: GPL-3.0-only" in told
    assert "release/licences.toml" in told
    monkeypatch.setattr(materials, "shipped_packages", lambda *extras: {"certifi": Said("certifi", License="MPL-2.0")})
    assert materials.main(tmp_path) == 1
    assert "certifi: 1.0 is not in requirements.lock" in capsys.readouterr().err


def test_the_list_for_people_has_the_reason_of_every_exception(tmp_path) -> None:
    assert materials.main(tmp_path) == 0
    text = next(tmp_path.glob("*.licences.md")).read_text("utf-8")
    assert len([line for line in text.splitlines() if line.startswith("| ")]) == len(PACKAGES) + 1
    assert "| MPL-2.0: Mozilla's list of certificates, as it is |" in text
    pins = next(tmp_path.glob("*.constraints.txt")).read_text("utf-8").splitlines()
    assert pins == [f"{name}=={package.version}" for name, package in PACKAGES.items()]
    assert next(tmp_path.glob("*.cdx.json")).name == f"import_platform-{__version__}.cdx.json"
