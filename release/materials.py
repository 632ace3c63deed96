"""The bill of materials, licences and tested versions of a release, from what is installed: `python -m release.materials FOLDER`.

It is refused where the environment is not the locked one, or a package's licence is neither permissive nor accepted.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import Distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from import_platform import __version__
from release.licences import licence_of, permissive, refused, stated
from release.packages import PROJECT, SHIPPED, project_requirements, requirements, shipped_packages

LOCK = Path(__file__).parents[1] / "requirements.lock"


def locked_versions(lock: Path = LOCK) -> dict[str, set[str]]:
    """Versions of each package in the lock: more than one where they differ by Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*])?==(\S+)", lock.read_text("utf-8"), re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def not_locked(packages: dict[str, Distribution]) -> dict[str, str]:
    """Versions that are installed though the lock has others."""
    locked = locked_versions()
    return {name: p.version for name, p in packages.items() if p.version not in locked.get(name, set())}


def bill_of_materials(packages: dict[str, Distribution], *, at: datetime) -> Bom:
    """The project and all that comes with it and its extras; what only an extra brings is optional. The same input, the same bill."""
    base = shipped_packages().keys()
    project = _component(PROJECT, __version__, kind=ComponentType.APPLICATION)
    parts = {name: _part(name, package, required=name in base) for name, package in packages.items()}
    bom = Bom(components=parts.values())
    bom.metadata.component = project
    bom.metadata.timestamp = at
    bom.serial_number = uuid.uuid5(
        uuid.NAMESPACE_URL, " ".join(sorted(str(part.purl) for part in (project, *parts.values())))
    )
    bom.register_dependency(project, [parts[name] for name in sorted(_asked(PROJECT, packages))])
    for name, part in parts.items():
        bom.register_dependency(part, [parts[asked] for asked in sorted(_asked(name, packages))])
    return bom


def _component(name: str, version: str, *, kind: ComponentType = ComponentType.LIBRARY) -> Component:
    url = PackageURL("pypi", name=name, version=version)
    return Component(name=name, version=version, type=kind, purl=url, bom_ref=url.to_string())


def _part(name: str, package: Distribution, *, required: bool) -> Component:
    part = _component(name, package.version)
    part.scope = ComponentScope.REQUIRED if required else ComponentScope.OPTIONAL
    part.licenses = [LicenseFactory().make_from_string(licence_of(package))]
    part.description = package.metadata.get("Summary")
    return part


def _asked(name: str, packages: dict[str, Distribution]) -> set[str]:
    """Names that a package asks for, its extras included where something here brings what they want."""
    if name == PROJECT:
        wanted = project_requirements(*SHIPPED)
    else:
        wanted = requirements(packages[name], packages[name].metadata.get_all("Provides-Extra") or [])
    return {asked.name for asked in wanted} & packages.keys() - {name}


def as_json(bom: Bom) -> str:
    """The bill as CycloneDX 1.6.

    Raises:
        ValueError: it does not follow the schema.
    """
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        raise ValueError(str(fault))
    return text + "\n"


def licence_list(packages: dict[str, Distribution]) -> str:
    """A Markdown table of every package, its version and its licence; those that are not permissive with the reason."""
    rows = ["| package | version | licence |", "|---|---|---|"]
    for name, package in packages.items():
        licence = licence_of(package)
        why = "" if permissive(licence) else f": {stated()[1][name].why}"
        rows.append(f"| {name} | {package.version} | {licence}{why} |")
    head = f"# Licences of what comes with import_platform {__version__}\n\nWith the extras {', '.join(SHIPPED)}.\n\n"
    return head + "\n".join(rows) + "\n"


def main(folder: Path) -> int:
    packages = shipped_packages(*SHIPPED)
    faults = {name: f"{version} is not in requirements.lock" for name, version in not_locked(packages).items()}
    faults |= refused({name: licence_of(package) for name, package in packages.items()})
    for name, fault in faults.items():
        print(f"{name}: {fault}", file=sys.stderr)
    if faults:
        print("Run `make setup`, or name the licence and the reason in release/licences.toml.", file=sys.stderr)
        return 1
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    at = datetime.fromtimestamp(int(seconds), UTC) if seconds else datetime.now(UTC)
    stem = f"{PROJECT.replace('-', '_')}-{__version__}"
    (folder / f"{stem}.cdx.json").write_text(as_json(bill_of_materials(packages, at=at)), "utf-8")
    (folder / f"{stem}.licences.md").write_text(licence_list(packages), "utf-8")
    pins = "".join(f"{name}=={package.version}\n" for name, package in packages.items())
    (folder / f"{stem}.constraints.txt").write_text(pins, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
