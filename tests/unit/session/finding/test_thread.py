"""Where one source is never read, what others have delivered is looked for all the same."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from rlm_kernel_mcp.session.finding.thread import LEFT_MAX, STUCK_S, Finder
from tests.sessions import WAIT_S


class Stuck:
    """A work that does not end before it may."""

    def __init__(self) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> Any:
        self.has_begun.set()
        return self.may_end.wait(WAIT_S)


def test_works_are_done_one_after_the_other() -> None:
    finder, done = Finder(), list[int]()
    works = [finder.submit(partial(done.append, number)) for number in range(20)]
    for work in works:
        work.result(WAIT_S)
    assert done == list(range(20))


def test_a_work_that_does_not_end_is_left_and_holds_up_only_what_was_behind_it() -> None:
    now, stuck = [0.0], Stuck()
    finder = Finder(lambda: now[0])
    first = finder.submit(stuck)
    assert stuck.has_begun.wait(WAIT_S)
    behind = finder.submit(lambda: "behind it")
    now[0] = STUCK_S + 1
    assert finder.submit(lambda: "another").result(WAIT_S) == "another"
    assert behind.cancelled()
    stuck.may_end.set()
    assert first.result(WAIT_S) is True


def test_there_is_a_most_of_threads_that_are_left() -> None:
    now, all_stuck = [0.0], [Stuck() for _ in range(LEFT_MAX + 1)]
    finder = Finder(lambda: now[0])
    works = []
    for stuck in all_stuck:
        works.append(finder.submit(stuck))
        assert stuck.has_begun.wait(WAIT_S)
        now[0] += STUCK_S + 1
    waiting = finder.submit(lambda: "in its turn")
    assert not waiting.done()
    for stuck in all_stuck:
        stuck.may_end.set()
    assert waiting.result(WAIT_S) == "in its turn"
    for work in works:
        work.result(WAIT_S)
