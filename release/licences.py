"""Under which licence each package comes, as an SPDX expression, and which of them anybody may use without a second thought."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution
from pathlib import Path

from license_expression import AND, OR, ExpressionError, LicenseSymbol, Licensing, get_spdx_licensing
from packaging.utils import canonicalize_name

STATED = Path(__file__).parent / "licences.toml"
UNKNOWN = "LicenseRef-unknown"
PERMISSIVE = frozenset({
    "0BSD", "AFL-2.1", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "LicenseRef-BSD", "MIT",
    "MIT-0", "PSF-2.0", "Zlib",
})  # fmt: skip
SPELLINGS = {
    "3-clause bsd license": "BSD-3-Clause", "apache": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0", "apache software license": "Apache-2.0",
    "apache v2": "Apache-2.0", "apache-2": "Apache-2.0", "bsd": "LicenseRef-BSD", "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause or apache-2.0": "BSD-3-Clause OR Apache-2.0", "bsd license": "LicenseRef-BSD", "cc0": "CC0-1.0",
    "isc license": "ISC", "isc license (iscl)": "ISC", "mit license": "MIT", "psfl": "PSF-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0", "python software foundation license": "PSF-2.0",
}  # fmt: skip
"""What packages write that is no SPDX identifier. BSD without its number of clauses stays that."""


@dataclass(frozen=True)
class Accepted:
    """A package whose licence is not permissive, and why it may come along; it is refused again under any other licence."""

    licence: str
    why: str


@cache
def _licensing() -> Licensing:
    return get_spdx_licensing()


@cache
def stated() -> tuple[dict[str, str], dict[str, Accepted]]:
    """From licences.toml: licences that a package's metadata leaves out, and those accepted one by one."""
    text = tomllib.loads(STATED.read_text("utf-8"))
    return text["stated"], {name: Accepted(**said) for name, said in text["accepted"].items()}


def licence_of(package: Distribution) -> str:
    """Its licence: as stated here, else its expression, its licence field, its classifiers; `LicenseRef-unknown` if none says."""
    words = package.metadata
    classifiers = [text for text in words.get_all("Classifier") or [] if text.startswith("License :: OSI Approved :: ")]
    short = [text.rpartition(" :: ")[2] for text in classifiers]
    for said in (
        stated()[0].get(canonicalize_name(package.name)),
        words.get("License-Expression"),
        words.get("License"),
    ):
        if said and (known := spdx(said)):
            return known
    return (spdx(short[0]) or UNKNOWN) if len(short) == 1 else UNKNOWN


def spdx(text: str) -> str | None:
    """The text as an SPDX expression, None where it is none and no known spelling of one."""
    text = SPELLINGS.get(text.strip().lower(), text.strip())
    try:
        parsed = _licensing().parse(text, strict=True)
    except ExpressionError:
        return None
    known = {"LicenseRef-BSD", *_licensing().known_symbols}
    return str(parsed) if parsed is not None and all(symbol.key in known for symbol in parsed.symbols) else None


def permissive(expression: str) -> bool:
    """Whether it leaves a choice in which every part is permissive. What cannot be read is not."""
    try:
        return _allows(_licensing().parse(expression))
    except ExpressionError:
        return False


def _allows(part: object) -> bool:
    if isinstance(part, OR):
        return any(_allows(choice) for choice in part.args)
    if isinstance(part, AND):
        return all(_allows(demand) for demand in part.args)
    return isinstance(part, LicenseSymbol) and part.key in PERMISSIVE


def refused(licences: dict[str, str]) -> dict[str, str]:
    """Of the packages' licences those that are neither permissive nor accepted for that package."""
    _, accepted = stated()
    return {
        name: licence
        for name, licence in licences.items()
        if not permissive(licence) and (name not in accepted or accepted[name].licence != licence)
    }
