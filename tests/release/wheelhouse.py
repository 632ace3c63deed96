"""Wheels made from what is installed here: a folder to install from where there is no index, the same on every machine."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution
from pathlib import Path

LEFT_OUT = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}
"""What an installer writes itself."""


def make_wheelhouse(folder: Path, packages: Iterable[Distribution]) -> Path:
    folder.mkdir(parents=True)
    for package in packages:
        make_wheel(folder, package)
    return folder


def make_wheel(folder: Path, package: Distribution) -> Path:
    """The package as a wheel again, uncompressed; programs that no entry point makes, headers and pages of man are left out."""
    files = [file for file in package.files or [] if is_content(str(file))]
    info = next(file.parts[0] for file in files if file.name == "METADATA")
    tags = [line.split(": ")[1] for line in (package.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")]
    compressed = "-".join(
        ".".join(dict.fromkeys(parts)) for parts in zip(*(tag.split("-") for tag in tags), strict=True)
    )
    path = folder / f"{info.removesuffix('.dist-info')}-{compressed}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as wheel:
        for file in files:
            wheel.write(str(file.locate()), str(file))
        wheel.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"]))
    return path


def is_content(name: str) -> bool:
    written = ".dist-info/" in name and name.rpartition("/")[2] in LEFT_OUT
    return not (name.startswith("..") or "__pycache__" in name or written)
