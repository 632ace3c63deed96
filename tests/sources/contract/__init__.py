"""What every connector must do, as tests that each connector's test class inherits.

A connector gives a `world` fixture: a fresh place of its kind to make tables in. Abstract column kinds are `int`,
`text`, `real`, `bytes`, `date` and `time`; both sides take names in double quotes.
"""

from tests.sources.contract.discovery import Discovery
from tests.sources.contract.limits import Limits
from tests.sources.contract.pages import Pages
from tests.sources.contract.windows import Windows
from tests.sources.contract.world import HOSTILE, Columns, World, info_of, request, rows_of

__all__ = ["HOSTILE", "Columns", "SourceContract", "World", "info_of", "request", "rows_of"]


class SourceContract(Discovery, Pages, Windows, Limits):
    """All of it; `many_columns` says how wide a table the kind of database allows."""
