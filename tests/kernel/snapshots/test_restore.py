"""What comes back after a session's kernel is gone, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.losses import OWN, lose_kernel, lost, restored
from tests.parts import one_of_each
from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio


def read_cells(name: str) -> dict[str, list[str]]:
    """Title to parts: `# title`, parts between lines of `---`, and `=====` after each."""
    blocks = Path(__file__).with_name(name).read_text(encoding="utf-8").split("\n=====\n")
    titled = (block.removeprefix("# ").partition("\n") for block in blocks if block)
    return {title: rest.split("\n---\n") for title, _, rest in titled}


KEPT = read_cells("kept_cells.txt")
"""What is made, what is then done with it in a fresh kernel, and what must come of that."""
NOT_KEPT = read_cells("lost_cells.txt")
"""How `x` is made, and a part of the reason."""


FAST = {
    *("values", "a function calls one that was bound later", "closures keep what they hold", "decorated functions"),
    *("classes and their instances, by one class", "slots, metaclasses and abstract classes", "dataclasses", "enums"),
    *("modules and what was imported from them", "a second name of the context", "a structure that holds itself"),
    *("generator functions and coroutines", "typed dicts", "type variables and parameters", "single dispatch"),
    *("collections", "context variables", "closures that call each other", "what an exception came from"),
    "functions of one value that share a closure cell",
}
"""One of each kind of what comes back."""
FAST_LOST = {
    *(
        "a generator",
        "a file open for writing",
        "a thread",
        "what raises more than an Exception",
        "what lies of itself",
    ),
    *("what raises when it is restored", "what leaves when it is restored", "a structure too deep to walk"),
}
"""One of each reason."""


@pytest.mark.parametrize("what", one_of_each({title: title for title in KEPT}, FAST))
async def test_what_a_fresh_kernel_has_of_the_one_before(session: SessionDriver, what: str) -> None:
    """By value, each name by itself, and without a word about a loss."""
    make, use, expected = KEPT[what]
    await session.ok(make)
    await lose_kernel(session)
    report = await session.run(use)
    assert lost(report) == {}
    assert report.status == "ok", report
    assert report.result is not None
    assert " ".join(report.result.split()).replace("( ", "(") == expected
    assert (await session.ok("1")).lost is None


@pytest.mark.parametrize("what", one_of_each({title: title for title in NOT_KEPT}, FAST_LOST))
async def test_what_cannot_be_had_back_is_named_with_its_reason(session: SessionDriver, what: str) -> None:
    """The names beside it come back all the same."""
    make, why = NOT_KEPT[what]
    await session.ok(f"beside = [1]\n{make}\nafter = 'a'")
    await lose_kernel(session)
    report = await session.ok("(beside, after)")
    assert report.result == "([1], 'a')"
    assert set(lost(report)) == {"x"}
    assert why in lost(report)["x"]
    assert restored(report) >= {"beside", "after"} | OWN
