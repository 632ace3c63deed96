"""The contract of a table that failed, tried on this machine: for `incidents show` and `heal`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from import_platform.components.external_source import ExternalSource
from import_platform.errors import ConfigError
from import_platform.io.incidents import Incident
from import_platform.resources.connection import Connection

if TYPE_CHECKING:
    from import_platform.sources.rest.contract.suite import Outcome

_KINDS = ("rest", "stripe", "github")
_TOLD_BY = {
    "credentials": "refused_credentials_are_the_owners_and_are_not_tried_again",
    "same page": "a_repeated_page_is_an_error_and_no_endless_loop",
    "busy": "a_rate_limit_is_waited_for",
    "did not answer": "a_server_that_stays_down_is_unavailable",
    "paginator": "every_row_comes_once_and_in_the_apis_order",
    "rows where expected": "an_error_inside_a_good_answer_is_no_empty_table",
    "error inside": "an_error_inside_a_good_answer_is_no_empty_table",
    "HTML": "html_instead_of_json_is_the_owners",
}


@dataclass(frozen=True)
class Contract:
    """What became of every check. `failing` is the one that shows the incident: it failed, or is about such errors."""

    outcomes: tuple[Outcome, ...]
    failing: str | None

    @property
    def passes(self) -> bool:
        return all(outcome.passed is not False for outcome in self.outcomes)

    def lines(self) -> Iterator[str]:
        """A sentence for all that passed, a line for each that did not."""
        tried = [outcome for outcome in self.outcomes if outcome.passed is not None]
        if not self.outcomes:
            yield "this kind of source has no contract that can be tried on this machine"
            return
        passed = sum(bool(outcome.passed) for outcome in tried)
        yield f"{passed} of {len(tried)} checks pass against a local server that pages as declared"
        for outcome in self.outcomes:
            if outcome.passed is not True:
                yield f"{'failed' if outcome.passed is False else 'not tried'}: {outcome.check}: {outcome.sentence}"

    def as_json(self) -> list[dict[str, Any]]:
        return [{"check": each.check, "passed": each.passed, "sentence": each.sentence} for each in self.outcomes]


def contract_of(source: ExternalSource, incident: Incident) -> Contract:
    """Tries the table's declaration as it stands, with what its incident recorded. A few seconds; asks no API."""
    if source.connection.kind not in _KINDS:
        return Contract((), None)
    from import_platform.sources.rest.contract.suite import run_contract  # dlt takes a second to import

    outcomes = tuple(
        run_contract(
            _filled(source.connection), incident.table, exchange=incident.exchange, columns=incident.columns_in_lake
        )
    )
    failed = next((outcome.check for outcome in outcomes if outcome.passed is False), None)
    told = next((check for words, check in _TOLD_BY.items() if words in incident.error), None)
    return Contract(outcomes, failed or told)


def _filled(connection: Connection) -> Mapping[str, Any]:
    """With the variables of this process; with others in their place where one is not set, for no API is asked."""
    try:
        return connection.resolve()
    except ConfigError:
        return connection.resolve({name: f"contract-{name.lower()}" for name in connection.variables})
