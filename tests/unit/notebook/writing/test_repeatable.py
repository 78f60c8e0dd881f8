"""What a look at a step's code and output guesses of its repeating."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from rlm_kernel_mcp.kernel.placement.local.kernel_dir import KernelDir
from rlm_kernel_mcp.notebook.writing.repeatable import CODE_CHARS_MAX, Guesses

FOUND = (
    ("print(time.time())", ["clock"]),
    ("datetime.datetime.now()", ["clock"]),
    ("%timeit 1 + 1", ["clock"]),
    ("random.choice(names)", ["chance"]),
    ("random.Random().random()", ["chance"]),
    ("uuid.uuid4()", ["chance"]),
    ("id(x)", ["address"]),
    ("list(set(words))[:3]", ["order"]),
    ("for word in {'a', 'b'}:\n    print(word)", ["order"]),
    ("[*set(words)]", ["order"]),
    ("', '.join(set(words) - {'a'})", ["order"]),
)
NOT_FOUND = (
    "len(context)",
    "import time, random",
    "t = time.time()",
    "random.Random(5).random()",
    "sorted(set(words))",
    "len({'a', 'b'}), 'a' in set(words)",
    "def f():\n    return time.time()",
    "this is not Python",
    "x = (" * 5_000,
)


@pytest.mark.parametrize(("code", "why"), FOUND, ids=range(len(FOUND)))
def test_what_shows_the_clock_chance_an_address_or_the_order_of_a_set_is_guessed(code: str, why: list[str]) -> None:
    assert Guesses().of_step(code, "") == why


@pytest.mark.parametrize("code", NOT_FOUND, ids=range(len(NOT_FOUND)))
def test_what_shows_none_of_them_is_not(code: str) -> None:
    assert Guesses().of_step(code, "") == []


def test_an_address_in_the_output_is_seen() -> None:
    assert Guesses().of_step("x", "<object object at 0x7f11aa22bb30>") == ["address"]
    assert Guesses().of_step("x", "0x1f, 0xDEADBEEF00") == []


@pytest.mark.parametrize("place", ["rlm", "rlm-1000", "rlm-1000-x_1y2z3w"])
def test_a_path_of_the_scratch_directory_in_the_output_is_seen(tmp_path: Path, place: str) -> None:
    """Each kernel has one of its own, made as here."""
    (tmp_path / place).mkdir()
    server = tempfile.mkdtemp(prefix="", dir=tmp_path / place)
    kernel = KernelDir(Path(tempfile.mkdtemp(prefix="", dir=server)))
    assert Guesses().of_step("scratch", repr(str(kernel.scratch))) == ["place"]
    assert Guesses().of_step("open('x')", f"No such file or directory: '{kernel.scratch}/x'") == ["place"]
    assert Guesses().of_step("x", "from scratch, /a/w, docs/rlm/notes/w, the/rlm-core/w") == []


def test_a_name_keeps_what_it_was_bound_to_over_steps_until_it_is_bound_anew() -> None:
    """And so does a function, of what its body calls."""
    guesses = Guesses()
    assert guesses.of_step("began = time.time()\nfound = search('x')", "") == []
    assert guesses.of_step("len(found)", "") == []
    assert guesses.of_step("took = end - began", "") == []
    assert guesses.of_step("took", "") == ["clock"]
    assert guesses.of_step("took = 5\ntook", "") == []
    assert guesses.of_step("def draw():\n    return random.random()", "") == []
    assert guesses.of_step("draw()", "") == ["chance"]
    assert guesses.of_step("words = set(found)", "") == []
    assert guesses.of_step("tuple(words)", "") == ["order"]


def test_chance_with_a_seed_is_none() -> None:
    guesses = Guesses()
    assert guesses.of_step("random.seed(7)", "") == []
    assert guesses.of_step("random.sample(names, 3)", "") == []


@pytest.mark.parametrize(
    ("code", "shown"),
    [("\n" * CODE_CHARS_MAX, ""), (" " * CODE_CHARS_MAX, ""), ("x", "rlm-" * 1_000_000), ("x", "rlm/" * 1_000_000)],
    ids=["empty lines", "spaces", "words", "paths"],
)
def test_a_look_at_code_or_output_that_is_made_to_be_long_ends(code: str, shown: str) -> None:
    """Both are anybody's, and a notebook of them has to be written in a time that grows with their length."""
    assert Guesses().of_step(code, shown) == []
