"""All declared sources of this process: each file is read on its own, so a broken one disables its source and
no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dagster_shared.yaml_utils import parse_yamls_with_source_position
from dagster_shared.yaml_utils.source_position import SourcePositionTree
from pydantic import ValidationError

from import_platform.components.declaration import NAME_PATTERN
from import_platform.components.external_source import ExternalSource
from import_platform.components.grouping import Grouping
from import_platform.components.origin import Origin
from import_platform.components.problems import Location, Problem, closest, dotted, sentences, shown
from import_platform.components.yaml_keys import RepeatedKey, repeated_keys
from import_platform.errors import ConfigError
from import_platform.resources.project import defs_folders

SOURCE_TYPE = "import_platform.components.ExternalSource"
GROUPING_TYPE = "import_platform.components.Grouping"
FILE_NAMES = ("defs.yaml", "defs.yml")
FILE_KEYS = ("attributes", "requirements", "type")

Declared = ExternalSource | Grouping


@dataclass(frozen=True)
class BrokenSource:
    """A file that declares no usable source or grouping, and why. `name` is the declared name where it could be read,
    else the folder's.
    """

    name: str
    path: Path
    problems: tuple[Problem, ...]

    @property
    def error(self) -> ConfigError:
        return ConfigError(
            "; ".join(str(problem) for problem in self.problems),
            remedy=f"Correct {self.path.name}; the other sources go on without {self.name}.",
        )


@dataclass(frozen=True)
class Catalog:
    """Every declared source and grouping, usable and broken, in the order of their files."""

    sources: tuple[ExternalSource, ...]
    broken: tuple[BrokenSource, ...]
    groupings: tuple[Grouping, ...] = ()

    def source(self, name: str) -> ExternalSource:
        """Raises ConfigError: the source is broken (says why) or unknown (names the closest)."""
        for source in self.sources:
            if source.name == name:
                return source
        for broken in self.broken:
            if broken.name == name:
                raise broken.error
        names = sorted(source.name for source in self.sources)
        raise ConfigError(
            f"there is no source {shown(name)}{closest(name, names)}",
            remedy=f"Declared sources: {', '.join(names) or 'none'}.",
        )

    def grouping(self, name: str) -> Grouping:
        """Raises ConfigError: the grouping is broken (says why) or unknown (names the closest)."""
        for grouping in self.groupings:
            if grouping.name == name:
                return grouping
        for broken in self.broken:
            if broken.name == name:
                raise broken.error
        names = sorted(grouping.name for grouping in self.groupings)
        raise ConfigError(
            f"there is no grouping {shown(name)}{closest(name, names)}",
            remedy=f"Declared groupings: {', '.join(names) or 'none'}; files need --by and --out.",
        )


def load_sources(folders: Sequence[Path] | None = None) -> Catalog:
    """The sources under `folders` (default: IMPORT_PLATFORM_DEFS, else the built-in ones). Never raises for a
    broken file.
    """
    found: list[Declared] = []
    broken: list[BrokenSource] = []
    for folder in defs_folders() if folders is None else folders:
        if not folder.is_dir():
            broken.append(_whole_file(folder, "this folder of IMPORT_PLATFORM_DEFS does not exist"))
            continue
        for path in _files(folder):
            for loaded in _load_file(path):
                twin = next((each for each in found if type(each) is type(loaded) and each.name == loaded.name), None)
                if isinstance(loaded, BrokenSource):
                    broken.append(loaded)
                elif twin is not None:
                    broken.append(_duplicate(loaded, twin))
                else:
                    found.append(loaded)
    sources = tuple(each for each in found if isinstance(each, ExternalSource))
    return Catalog(sources, tuple(broken), tuple(each for each in found if isinstance(each, Grouping)))


def _files(folder: Path) -> Iterator[Path]:
    for child in sorted(folder.iterdir()):
        yield from (child / name for name in FILE_NAMES if (child / name).is_file())


def _load_file(path: Path) -> Iterator[Declared | BrokenSource]:
    try:
        text = path.read_text(encoding="utf-8")
        documents = parse_yamls_with_source_position(text, filename=str(path))
        repeated = repeated_keys(text)
    except yaml.MarkedYAMLError as error:
        # The problem alone: PyYAML's full text quotes the lines around it, which may hold a secret.
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        yield BrokenSource(path.parent.name, path, (Problem(path, line, "", f"is not YAML: {_yaml_reason(error)}"),))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        yield _whole_file(path, f"cannot be read as YAML ({type(error).__name__})")
    else:
        for document, twice in zip(documents, repeated, strict=True):
            if twice:
                yield BrokenSource(_name(path, document.value), path, tuple(_given_twice(path, key) for key in twice))
            else:
                yield _load_document(path, document.value, document.source_position_tree)
        if not documents:
            yield _whole_file(path, "is empty")


def _given_twice(path: Path, key: RepeatedKey) -> Problem:
    return Problem(path, key.line, dotted(key.location), f"is given a second time, after line {key.first_line}")


def _yaml_reason(error: yaml.MarkedYAMLError) -> str:
    words = " ".join(part for part in (error.context, error.problem) if part)
    # Names of aliases, anchors and tags are text of the file; a password may begin with * or !.
    return words.split("'")[0].strip() if any(word in words for word in ("alias", "anchor", "tag")) else words


def _load_document(path: Path, content: Any, positions: SourcePositionTree) -> Declared | BrokenSource:
    mistakes = list(_file_mistakes(content))
    if not mistakes:
        kind: type[Declared] = Grouping if content["type"] == GROUPING_TYPE else ExternalSource
        schema = kind.model()
        try:
            model = schema.model_validate(content["attributes"])
        except ValidationError as error:
            mistakes = [(("attributes", *loc), text) for loc, text in sentences(error, schema, content["attributes"])]
        else:
            return kind.resolve_from_model(None, model).at(_origin(path, content, positions))
    problems = tuple(Problem(path, _line(positions, loc), dotted(loc), text) for loc, text in mistakes)
    return BrokenSource(_name(path, content), path, problems)


def _file_mistakes(content: Any) -> Iterator[tuple[Location, str]]:
    if not isinstance(content, dict):
        yield (), f"must be a mapping with type and attributes; found {shown(content)}"
        return
    for key in content:
        if key not in FILE_KEYS:
            yield (key,), f"is not a key here{closest(str(key), FILE_KEYS)}; allowed: {', '.join(FILE_KEYS)}"
    if content.get("type") not in {SOURCE_TYPE, GROUPING_TYPE}:
        yield ("type",), f"must be {SOURCE_TYPE} or {GROUPING_TYPE}; found {shown(content.get('type'))}"
    if not isinstance(content.get("attributes"), dict):
        needed = "name, by and output" if content.get("type") == GROUPING_TYPE else "name and connection"
        yield ("attributes",), f"must be a mapping with {needed}; found {shown(content.get('attributes'))}"


def _name(path: Path, content: Any) -> str:
    attributes = content.get("attributes") if isinstance(content, dict) else None
    name = attributes.get("name") if isinstance(attributes, dict) else None
    return name if isinstance(name, str) and NAME_PATTERN.fullmatch(name) else path.parent.name


def _line(positions: SourcePositionTree, loc: Location) -> int:
    """The line of the key, or of the nearest thing around it (a missing key has no line of its own)."""
    return positions.lookup_closest_and_path(loc, None)[0].start.line


def _origin(path: Path, content: Any, positions: SourcePositionTree) -> Origin:
    tables = content["attributes"].get("tables") or ()
    lines = {table["name"]: _line(positions, ("attributes", "tables", index)) for index, table in enumerate(tables)}
    return Origin(path, positions.position.start.line, lines)


def _duplicate(source: Declared, first: Declared) -> BrokenSource:
    path, line = (source.origin.path, source.origin.line) if source.origin else (Path("defs.yaml"), 0)
    place = first.origin.path if first.origin else "another file"
    return BrokenSource(
        source.name, path, (Problem(path, line, "attributes.name", f"{source.name!r} is already declared in {place}"),)
    )


def _whole_file(path: Path, sentence: str) -> BrokenSource:
    return BrokenSource(path.parent.name if path.suffix else path.name, path, (Problem(path, 0, "", sentence),))
