"""Every error says what happened and what to do next, survives a process boundary, and has one place in the tree."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from import_platform import errors
from import_platform.errors import ImportPlatformError, RetryableError

PACKAGE = Path(errors.__file__).parent
CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ImportPlatformError)]
NAMES = {kind.__name__ for kind in CLASSES}
ABSTRACT = {"ImportPlatformError", "RetryableError"}
SELF_EVIDENT = {
    "CommitConflict",  # the caller goes another round; the error that ends the rounds has a remedy
    "Interrupted",  # somebody asked for it
    "InvariantBroken",  # reported, not remedied
}


def raises() -> Iterator[tuple[str, ast.Call]]:
    """Where the package makes one of its errors, and the call."""
    for module in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES:
                yield f"{module.relative_to(PACKAGE)}:{node.lineno}", node


def raise_in_worker(kind: type[ImportPlatformError]) -> None:
    raise kind("the source did not answer", remedy="Start it.", table="orders", tries=3)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_says_what_it_means(kind: type[ImportPlatformError]) -> None:
    assert kind.__doc__
    assert kind.__doc__ is not ImportPlatformError.__doc__ or kind is ImportPlatformError


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_stands_in_the_tree_at_the_top_of_the_module(kind: type[ImportPlatformError]) -> None:
    assert errors.__doc__ is not None
    assert kind.__name__ in errors.__doc__


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_is_pickled_whole(kind: type[ImportPlatformError]) -> None:
    error = kind("the source did not answer", remedy="Start it.", table="orders", tries=3)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.message, copy.remedy, copy.facts) == (error.message, error.remedy, error.facts)
    assert str(copy) == str(error)


def test_an_error_crosses_a_process_boundary() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        future = pool.submit(raise_in_worker, errors.SourceUnavailable)
        with pytest.raises(errors.SourceUnavailable, match="Start it") as caught:
            future.result(timeout=60)
    assert caught.value.facts == {"table": "orders", "tries": 3}


@pytest.mark.parametrize("kind", CLASSES)
def test_a_sentence_holds_the_message_the_facts_and_the_remedy(kind: type[ImportPlatformError]) -> None:
    error = kind("the disk is full", remedy="Free some space.", free_bytes=0)
    assert str(error) == "the disk is full (free_bytes 0). Free some space."
    assert str(kind("the disk is full")) == "the disk is full"


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_has_an_exit_code_of_the_contract(kind: type[ImportPlatformError]) -> None:
    assert kind.exit_code == {"ConfigError": 2, "Interrupted": 130}.get(kind.__name__, 1)


@pytest.mark.parametrize("kind", CLASSES)
def test_only_what_can_succeed_later_is_retried(kind: type[ImportPlatformError]) -> None:
    assert kind.retryable == issubclass(kind, RetryableError)


def test_every_class_is_raised_somewhere() -> None:
    used = {call.func.id for _, call in raises() if isinstance(call.func, ast.Name)}
    assert sorted(NAMES - ABSTRACT - used) == []


def test_only_concrete_classes_are_raised() -> None:
    assert [place for place, call in raises() if isinstance(call.func, ast.Name) and call.func.id in ABSTRACT] == []


def test_every_error_is_raised_with_a_remedy() -> None:
    silent = [
        place
        for place, call in raises()
        if isinstance(call.func, ast.Name)
        and call.func.id not in SELF_EVIDENT
        and not any(keyword.arg in {"remedy", None} for keyword in call.keywords)
    ]
    assert silent == []


def literals(call: ast.Call, *, name: str) -> Iterator[str]:
    """The constant text that a call passes as `name`; the message is the first positional argument."""
    values = call.args[:1] if name == "message" else [word.value for word in call.keywords if word.arg == name]
    yield from (value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str))


def test_every_message_is_a_sentence_in_lower_case_without_a_full_stop() -> None:
    messages = [(place, text) for place, call in raises() for text in literals(call, name="message")]
    assert len(messages) > 20
    assert [(place, text) for place, text in messages if text[0].isupper() or text.endswith(".")] == []


def test_every_remedy_is_a_whole_sentence_or_ends_in_a_command() -> None:
    remedies = [(place, text) for place, call in raises() for text in literals(call, name="remedy")]
    assert len(remedies) > 20
    assert [
        (place, text) for place, text in remedies if not re.search(r"([.?]|: (import-platform|make) .+)$", text)
    ] == []
