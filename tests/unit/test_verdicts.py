"""Where a case of the corpus ended, and that a mistake of its own is no such place."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.escape.attack_server import Seen
from tests.escape.cases import Case
from tests.escape.verdicts import end_of, mistaken

HELD: Final = "HELD PermissionError [Errno 1] Operation not permitted\n"
MISTAKEN: Final = "HELD IndexError list index out of range\n"


def seen(stdout: str = "", status: str = "ok", ename: str | None = None) -> Seen:
    answer: dict[str, Any] = {"status": status, "stdout": stdout, "error": ename and {"ename": ename}}
    return Seen([answer], [], 0)


def case(category: str = "process") -> Case:
    return Case("x", category, "contain", "must", ())


@pytest.mark.parametrize(
    ("what", "end"),
    [
        (seen(HELD), "HELD PermissionError EPERM"),
        (seen("BYPASS posix 1\n" + HELD), "HELD PermissionError EPERM"),
        (seen("HELD URLError <urlopen error [Errno 1] Operation not permitted>\n"), "HELD URLError EPERM"),
        (seen("NOTE armed\nFIRED [Errno 1]\n"), "FIRED"),
        (seen("said nothing of itself\n"), "ok"),
        (seen(HELD, "timeout", "KeyboardInterrupt"), "timeout KeyboardInterrupt"),
        (seen(status="error", ename="<b>\x1b"), "error (made up)"),
        (seen(status="kernel_died"), "kernel_died"),
    ],
)
def test_a_case_ends_at_what_held_it_or_at_what_it_did(what: Seen, end: str) -> None:
    """By its last step's end, and by the last that it says of itself."""
    assert end_of(what) == end
    assert (mistaken(case(), what, courtesies=False) == []) is (end != "ok")


@pytest.mark.parametrize(
    "what",
    [
        seen(MISTAKEN),
        seen("HELD\n"),
        seen("MISSED wrote 5\n"),
        seen(status="error", ename="NameError"),
        seen(status="timeout", ename="NameError"),
        seen("done\n"),
    ],
)
def test_a_case_that_meets_no_wall_fails(what: Seen) -> None:
    """Unless the courtesies have taken away what it misses, or its expectation says what it has to have done."""
    assert mistaken(case(), what, courtesies=False) != []
    assert mistaken(case(), what, courtesies=True) == []
    assert mistaken(case("questions"), what, courtesies=False) == []


def test_what_is_judged_by_its_output_need_not_say_more() -> None:
    """A mistake is one there too."""
    assert mistaken(case("output"), seen("text\n"), courtesies=False) == []
    assert mistaken(case("output"), seen(status="error", ename="NameError"), courtesies=False) != []
