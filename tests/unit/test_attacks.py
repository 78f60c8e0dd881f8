"""The table of attacks names what there is: a test, a control that shows that the harm would be seen, and a bar."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from bench.bars import aftermath, attacks, costly
from tests.parts import ROOT
from tests.soaks._attacks import ATTACKS, Attack

ROWS = range(1, 15)
"""Of section 5 of issue 9's faults."""
BARS = {
    *aftermath.ATTACKS,
    *attacks.ATTACKS,
    *attacks.PREPARED,
    attacks.UNREAD,
    *costly.LINES,
    *(f"{reply} full of {unit}" for reply in costly.REPLIES for unit in costly.UNITS),
}
EACH_BY_ITS_NAME = "tests/escape/walls/test_walls_hold.py::test_without_walls_the_attacks_reach_the_canaries"
"""This control plays every attack of the walls, and asserts of each by its name that it is done."""


@cache
def found_in(path: str) -> set[str]:
    """The names of a module's tests."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")}


def test_each_row_is_attacked() -> None:
    """In the table's order."""
    assert list(dict.fromkeys(attack.row for attack in ATTACKS)) == list(ROWS)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.row}: {attack.what}")
def test_each_attack_has_a_test_a_control_and_a_bar(attack: Attack) -> None:
    """By names that are there."""
    for named in (attack.test, attack.control):
        path, _, name = named.partition("::")
        assert name in found_in(path)
    assert attack.bar in BARS


@pytest.mark.parametrize("row", ROWS)
def test_each_row_has_a_control_of_its_own(row: int) -> None:
    """Another row's shows another harm."""
    others = {attack.control for attack in ATTACKS if attack.row != row}
    assert {attack.control for attack in ATTACKS if attack.row == row} - (others - {EACH_BY_ITS_NAME})
