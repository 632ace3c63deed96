"""Pages of the site that stand elsewhere in the repository, and their links as the site has them."""

from __future__ import annotations

import ast
import inspect
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "architecture.md": "ARCHITECTURE.md",
    "benchmarks.md": "bench/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
}
"""Page of the site -> file of the repository."""

_INCLUDE = re.compile(r"^<!-- include: (\S+?)(?: # (.+?))? -->$", re.MULTILINE)
_DOCSTRING = re.compile(r"^<!-- docstring: (\S+)( as it stands)? -->$", re.MULTILINE)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def page_from(source: str, page: str) -> str:
    """A file of the repository as the page of that name."""
    return relinked((ROOT / source).read_text("utf-8"), source=source, page=page)


def with_includes(text: str, page: str) -> str:
    """The text with `<!-- include: FILE # Heading -->` replaced by that section (without a heading, by what comes before any),
    and `<!-- docstring: MODULE -->` by what that module says of itself after its first line,
    as Markdown or, with `as it stands`, line by line.

    Raises:
        LookupError: the file has no such heading.
    """

    def included(found: re.Match[str]) -> str:
        source, heading = found[1], found[2]
        return relinked(section((ROOT / source).read_text("utf-8"), heading), source=source, page=page)

    return _DOCSTRING.sub(_docstring, _INCLUDE.sub(included, text))


def _docstring(found: re.Match[str]) -> str:
    path = ROOT.joinpath(*found[1].split(".")).with_suffix(".py")
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    rest = inspect.cleandoc(said.partition("\n")[2])
    return f"```text\n{rest}\n```" if found[2] else rest


def section(text: str, heading: str | None) -> str:
    """What stands under a heading of the second level, or between the title and the first of these."""
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    if heading is None:
        return re.sub(r"\A# .*\n", "", parts[0]).strip() + "\n"
    titles = parts[1::2]
    if heading not in titles:
        raise LookupError(f"no heading {heading!r}; there are {', '.join(titles)}")
    return parts[2 * titles.index(heading) + 2].strip() + "\n"


def relinked(text: str, *, source: str, page: str) -> str:
    """Links that are right in `source` as they are right on `page`. A file that the site does not hold loses its link, not its
    words; one that is nowhere keeps it, so that the build fails."""

    def link(found: re.Match[str]) -> str:
        mark, words, target = found.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return found[0]
        path, hash_, anchor = target.partition("#")
        file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        place = on_site(file)
        if place is None:
            return words if (ROOT / file).exists() else found[0]
        return f"{mark}[{words}]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{hash_}{anchor})"

    return _LINK.sub(link, text)


def on_site(path: str) -> str | None:
    """Where a file of the repository stands on the site."""
    pages = {source: page for page, source in ELSEWHERE.items()} | {"README.md": "index.md"}
    if path in pages:
        return pages[path]
    if path.startswith("bench/plots/"):
        return path
    return path.removeprefix("docs/") if path.startswith("docs/") else None
