"""Which names a step bound: by identity, and by the statements that must have run."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from rlm_kernel_mcp.in_kernel.namespace.bound_names import bound_names, identities


def after(code: str, start: dict[str, Any] | None = None) -> list[str]:
    """The names that `code` bound, run in a namespace that `start` began."""
    namespace = dict(start or {})
    before = identities(namespace)
    ok = True
    try:
        exec(code, namespace)
    except ZeroDivisionError:
        ok = False
    return bound_names(code, before, namespace, ok)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("x = 1", ["x"]),
        ("x, (y, *z) = 1, (2, 3)", ["x", "y", "z"]),
        ("x = y = 1", ["x", "y"]),
        ("x += 1", ["x"]),
        ("x: int = 1", ["x"]),
        ("x: int", []),
        ("import math, os.path as p, json.decoder", ["math", "p", "json"]),
        ("from math import pi, e as euler", ["pi", "euler"]),
        ("def f(): pass\nclass C: pass\nasync def g(): pass", ["f", "C", "g"]),
        ("with open(__import__('os').devnull) as file: inner = 1", ["file", "inner"]),
        ("try:\n    pass\nfinally:\n    last = 1", ["last"]),
        ("for i in range(3): square = i * i", ["i", "square"]),
        ("if False: never = 1", []),
        ("(walrus := 5)", ["walrus"]),
        ("try: 1 / 0\nexcept ZeroDivisionError as error: pass", []),
        ("items.append(1)\nitems[0] = 2", []),
        ("del items", []),
        ("def f():\n    global made\n    made = 1\nf()", ["f", "made"]),
        ("_ = 1\n__ = 2\n_i3 = 3\n__hidden__ = 4\nOut = {}\nexit = 5", []),
        ("_private = 1", ["_private"]),
    ],
)
def test_the_names_that_a_step_binds_are_listed(code: str, names: list[str]) -> None:
    """Contract: names bound or rebound by this step; none that it only changed or removed, none of the shell's."""
    assert sorted(after(code, {"x": 0, "items": [0]})) == sorted(names)


def test_rebinding_to_the_same_object_counts() -> None:
    """Ours: small integers and interned strings are the same object before and after."""
    assert after("n = 1\nword = 'a'", {"n": 1, "word": "a", "other": 2}) == ["n", "word"]
    assert after("n = n", {"n": [1]}) == ["n"]


def test_after_an_error_only_what_really_changed_is_listed() -> None:
    """Ours: the statements behind the error did not run."""
    assert after("a = []\n1 / 0\nb = 1", {"b": 1}) == ["a"]


def test_a_tree_serves_as_well_as_its_source_and_magics_are_no_python() -> None:
    """Ours: where the source cannot be parsed, identity decides alone."""
    assert bound_names(ast.parse("n = 1"), {"n": id(1)}, {"n": 1}, True) == ["n"]
    assert bound_names("%time n = 1\nm = 2", {"n": id(1)}, {"n": 1, "m": 2}, True) == ["m"]
    assert bound_names("(" * 10_000, {}, {"n": 1}, True) == ["n"]


def test_identities_keep_no_value_alive() -> None:
    """Ours: a step that replaces 400 MB by 400 MB must not need both for longer than Python does."""
    assert identities({"a": None}) == {"a": id(None)}
