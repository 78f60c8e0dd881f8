"""The answers of a run that is over, given to the same questions when its notebook runs again.

Is: `channel.Asks` without a host: an answer belongs to its step and its question, and equal questions of one step get
theirs in the order in which they were asked. Is not: a wall, nor a model: a question without an answer fails with a
sentence. Above: `in_kernel/notebook/replay.py`. Below: `items.py`, `waiters.py`, `errors.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from rlm_kernel_mcp.both_sides.recorded_cells import RecordedAnswer, question_digest
from rlm_kernel_mcp.in_kernel.asking.errors import SubcallError
from rlm_kernel_mcp.in_kernel.asking.items import Item
from rlm_kernel_mcp.in_kernel.asking.waiters import Gate, Waiting, give
from rlm_kernel_mcp.questions_wire import Opts

NONE_RECORDED: Final = (
    "This notebook has no answer to this question: it was not asked in the run, or its answer was not kept. Nobody is "
    "asked when a notebook runs again."
)
NOT_RECORDED: Final = "What was left of the limits is not in this notebook: budget() has no answer when it runs again."
FAILED_THEN: Final = "This question failed in the run; the words of that failure were not kept."


class RecordedAnswers:
    """Those of one notebook. Any thread may ask."""

    def __init__(
        self, answers: Iterable[RecordedAnswer], step_of: Callable[[], int], *, has_children: bool = False
    ) -> None:
        """`step_of`: the recorded step whose code runs; 0 where a cell is none."""
        self._step_of = step_of
        self._has_children = has_children
        self._ids, self._batches = itertools.count(1), itertools.count(1)
        self._lock = threading.Lock()
        self._of_step: defaultdict[tuple[int, str], deque[RecordedAnswer]] = defaultdict(deque)
        self._first: dict[str, RecordedAnswer] = {}
        """By question the first answer in the run: for a cell that is no step, and where one asks more often."""
        for one in answers:
            self._of_step[one["step"], one["digest"]].append(one)
            self._first.setdefault(one["digest"], one)

    def new_batch(self) -> int:
        """A number for the questions of one call."""
        return next(self._batches)

    def batch_of_turn(self) -> int:
        """As `new_batch`: nothing is sent, so nothing has to go together."""
        return self.new_batch()

    def depth(self) -> int:
        """2 where questions had sessions of their own: then an answer is looked for as such a one's."""
        return 2 if self._has_children else 1

    def ask(
        self, items: Iterable[Item], opts: Opts, asked: list[Waiting], whose: Gate | asyncio.AbstractEventLoop
    ) -> None:
        """Answer questions at once; who waits for them is put into `asked` in their order."""
        answers: list[tuple[Waiting, Any]] = []
        for item in items:
            waiting = Waiting.of(whose)
            waiting.id = next(self._ids)
            asked.append(waiting)
            answers.append((waiting, self._answer(question_digest(opts.get("kind", "llm"), item.prompt, item.text))))
        give(answers)

    def question(self, kind: str, said: Callable[[int], Any]) -> Any:
        """What is asked of the host itself. A forecast lets every batch be asked. Raises: SubcallError: the budget."""
        if kind != "forecast":
            raise SubcallError("off", NOT_RECORDED)
        calls = len(said(0)["items"])
        return {"calls": calls, "tokens_expected": 0, "tokens_most": 0, "seconds": None, "usd": None, "refusal": None}

    def cancel(self, asked: Iterable[Waiting]) -> None:
        """Nobody waits for these: they have their answers."""

    def cancel_soon(self, one: Waiting) -> None:
        """As `cancel`."""

    def missed(self, ids: Sequence[int], whose: Gate | asyncio.AbstractEventLoop) -> Waiting:
        """Answers did not have their schema, as in the run: nobody has to be told."""
        del ids
        waiting = Waiting.of(whose)
        give([(waiting, None)])
        return waiting

    def _answer(self, digest: str) -> Any:
        with self._lock:
            left = self._of_step.get((self._step_of(), digest))
            found = left.popleft() if left else self._first.get(digest)
        if found is None:
            return SubcallError("off", NONE_RECORDED)
        answer = found.get("answer")
        return SubcallError(found.get("code", "off"), FAILED_THEN) if answer is None else answer
