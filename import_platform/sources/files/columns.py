"""Columns of a piece in the types that their table has by now; what does not fit widens one, or is set apart.

Values of CSV and XML are text. A column without a declared type gets the narrowest one that spells all its values back:
`007` is text, `7` a number, so nothing is lost when the column widens later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from import_platform.core.lattice import fitted, join, widened
from import_platform.core.schema import lake_type
from import_platform.core.wording import type_text
from import_platform.sources.files.declaration import GONE, MODIFIED, NUMBER, Files
from import_platform.sources.files.piece import Piece

Types = Mapping[str, pa.DataType]
_SPELLED = (
    (r"^(true|false)$", pa.bool_()),
    (r"^(0|-?[1-9][0-9]{0,17})$", pa.int64()),
    (r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?$", pa.float64()),
    (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", pa.date32()),
    (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?$", None),
)
_INSTANT = pa.timestamp("us", "UTC")


@dataclass
class Fitted:
    """The columns of a piece. `grown` are columns that the table lacks, or whose types must widen first. Mutable: it
    is filled column by column."""

    arrays: dict[str, pa.Array] = field(default_factory=dict)
    grown: dict[str, pa.DataType] = field(default_factory=dict)
    misfits: dict[int, tuple[str, str]] = field(default_factory=dict)


def fit(piece: Piece, *, known: Types, declared: Types, is_text: bool) -> Fitted:
    """`known` are the columns that the table has; `is_text` says that values are spelled."""
    done = Fitted(misfits=dict(piece.misfits))
    for name, array in zip(piece.batch.schema.names, piece.batch.columns, strict=True):
        plain = widened(array, lake_type(array.type)) if array.type != lake_type(array.type) else array
        target = declared.get(name, known.get(name))
        if target is None or name not in known:
            found = target or (spelled_type(plain) if is_text else plain.type)
            if plain.null_count < len(plain):
                done.grown[name] = found
            continue
        values, bad = fitted(plain, target)
        if is_text and name not in declared and pa.types.is_integer(target):
            again = pc.fill_null(pc.not_equal(values.cast(pa.string()), plain), False)  # 007 would come back as 7
            bad = again if bad is None else pc.or_(bad, again)
            bad = bad if pc.any(bad).as_py() else None
        done.arrays[name] = values
        if bad is not None and name in declared:
            for position in pc.indices_nonzero(bad).to_pylist():
                done.misfits.setdefault(position, (name, f"the value does not fit {type_text(target)}"))
        elif bad is not None:
            wrong = plain.filter(bad)
            done.grown[name] = join(target, spelled_type(wrong) if is_text else wrong.type)
            if done.grown[name] == target:
                done.grown[name] = pa.string()
    return done


def safe_names(table: Files, names: Sequence[str]) -> list[str]:
    """Columns of a file that are called as one that the table has of its own (`_file`) get a `_` behind, more where
    that is taken."""
    own = {*table.place, NUMBER} | ({GONE} if table.has_marks else set())
    if table.versions is not None and MODIFIED in table.versions.order:
        own.add(MODIFIED)
    taken = {name.lower() for name in names} | own
    safe: list[str] = []
    for name in names:
        label = name
        if name.lower() in own:
            while label.lower() in taken:
                label += "_"
            taken.add(label.lower())
        safe.append(label)
    return safe


def spelled_type(array: pa.Array) -> pa.DataType:
    """The narrowest type whose values are spelled like all of these."""
    values = array.drop_null()
    for pattern, dtype in _SPELLED:
        if pc.all(pc.match_substring_regex(values, pattern)).as_py():
            target = dtype or _INSTANT
            return target if fitted(values, target)[1] is None else pa.string()
    return pa.string()
