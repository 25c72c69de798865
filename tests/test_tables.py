"""Tables as text."""

from __future__ import annotations

import pytest

from autollm.tables import number, table

HEADER, ROWS = ("model", "steps", "said"), [["a|b", "1", "ab"], ["gpt2", "1,000", "abcdef"]]


def test_columns_are_aligned_for_a_terminal():
    assert table(HEADER, ROWS, left=(0, -1)).splitlines() == [
        "model  steps  said",
        "a|b        1  ab",
        "gpt2   1,000  abcdef",
    ]
    assert table(HEADER, ROWS).splitlines()[1] == "a|b        1      ab", "to the right, but for the first"


def test_columns_are_aligned_in_markdown():
    assert table(HEADER, ROWS, left=(0, 2), markdown=True).splitlines() == [
        "| model | steps | said   |",
        "| ----- | ----: | ------ |",
        r"| a\|b  |     1 | ab     |",
        "| gpt2  | 1,000 | abcdef |",
    ]
    assert table(["", "n"], [["", "7"]], markdown=True).splitlines() == [
        "|    |  n |",
        "| -- | -: |",
        "|    |  7 |",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (93_012.4, "93,012"),
        (999.9, "1,000"),
        (100.0, "100"),
        (99.94, "99.9"),
        (1.8374, "1.84"),
        (0.0, "0"),
    ],
)
def test_numbers_have_three_digits_or_all_before_the_point(value, shown):
    assert number(value) == shown
