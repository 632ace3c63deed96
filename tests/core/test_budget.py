"""Sizes as text, and what one number allows each stage to hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from import_platform.core.budget import GIB, KIB, MIB, MINIMUM_BYTES, MemoryBudget, budget_of, format_bytes, parse_bytes
from import_platform.errors import ConfigError

BUDGETS = st.builds(
    MemoryBudget,
    total_bytes=st.integers(MINIMUM_BYTES, 4096 * GIB),
    base_bytes=st.integers(150 * MIB, 256 * MIB),
)


@pytest.mark.parametrize(
    ("text", "expected_bytes"),
    [
        ("1", 1),
        ("4096", 4096),
        ("64 B", 64),
        ("512MiB", 512 * MIB),
        (" 512 mib ", 512 * MIB),
        ("2Gi", 2 * GIB),
        ("8KiB", 8 * KIB),
        ("1Ti", 1024 * GIB),
        ("1.5GB", 1_500_000_000),
        ("2TB", 2 * 10**12),
        ("0.5GiB", GIB // 2),
        ("1.0000000001kB", 1000),
        ("80% of 4Gi", 4 * GIB * 80 // 100),
        ("100% of 536870912", GIB // 2),
    ],
)
def test_a_size_is_a_count_with_a_unit(text: str, expected_bytes: int) -> None:
    assert parse_bytes(text, name="SIZE") == expected_bytes


@pytest.mark.parametrize(("text", "expected_bytes"), [("512M", 512 * 10**6), ("2g", 2 * 10**9), ("1K", 1000)])
def test_a_bare_letter_is_the_smaller_unit(text: str, expected_bytes: int) -> None:
    assert parse_bytes(text, name="SIZE") == expected_bytes


def test_a_count_beyond_what_a_float_holds_stays_exact() -> None:
    assert parse_bytes("9007199254740993", name="SIZE") == 9007199254740993
    assert parse_bytes("9" * 400, name="SIZE") == int("9" * 400)


@pytest.mark.parametrize(
    "text",
    [
        *("", "GB", "-1GB", "1,5GB", "1.GB", "1e9", "12 parsecs", "1 GB 2", "٣MB", "0", "0.4B", "inf"),
        *("80%", "80% of", "101% of 1GB", "0% of 1GB", "80% of $(LIMIT)", "1.5% of 1GB"),
    ],
)
def test_what_is_no_size_is_refused_with_the_setting_and_an_example(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_bytes(text, name="IMPORT_PLATFORM_MEMORY")
    assert caught.value.exit_code == 2
    assert caught.value.facts == {"found": text}
    assert "IMPORT_PLATFORM_MEMORY is not a size" in str(caught.value)
    assert "512MiB" in caught.value.remedy


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.0 kB"),
        (1000, "1.0 kB"),
        (999_940, "999.9 kB"),
        (999_960, "1.0 MB"),
        (1_500_000_000, "1.5 GB"),
        (999_999_999_999, "1.0 TB"),
        (1_234 * 10**12, "1234.0 TB"),
        (-2048, "-2.0 kB"),
    ],
)
def test_a_size_is_shown_in_the_largest_unit_below_a_thousand(count: float, text: str) -> None:
    assert format_bytes(count) == text


@given(st.integers(1, 10**15))
def test_a_shown_size_reads_back_within_its_rounding(count: int) -> None:
    assert parse_bytes(format_bytes(count), name="SIZE") == pytest.approx(count, rel=0.05)


@given(BUDGETS)
def test_three_pages_two_chunks_a_merge_and_its_writers_fit_together(budget: MemoryBudget) -> None:
    held_bytes = 3 * budget.page_bytes + 2 * budget.chunk_bytes + budget.merge_bytes + budget.rewrite_bytes
    assert held_bytes <= budget.free_bytes
    assert budget.base_bytes + held_bytes <= budget.total_bytes


@given(BUDGETS)
def test_four_copies_of_the_widest_row_fit_into_what_is_free(budget: MemoryBudget) -> None:
    assert 4 * budget.row_bytes_max <= budget.free_bytes


@given(BUDGETS)
def test_pages_and_chunks_stop_growing_with_the_machine(budget: MemoryBudget) -> None:
    assert MIB <= budget.page_bytes <= 16 * MIB
    assert 4 * MIB <= budget.chunk_bytes <= 64 * MIB


def test_the_least_budget_is_320_mib_and_says_so() -> None:
    assert budget_of(320 * MIB, base_bytes=180 * MIB).free_bytes == 140 * MIB
    with pytest.raises(ConfigError, match="under 320 MiB") as caught:
        budget_of(320 * MIB - 1, base_bytes=0)
    assert "IMPORT_PLATFORM_MEMORY" in caught.value.remedy


def test_a_process_that_already_holds_the_budget_still_gets_something_to_work_with() -> None:
    assert budget_of(320 * MIB, base_bytes=320 * MIB).free_bytes == 64 * MIB
