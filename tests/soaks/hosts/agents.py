"""One agent of a soak of hosts: a client behind a front, its session, and what each of them has to be.

Is: what an agent asks at once (steps, contexts, reads, an answer, a cancellation), the account of its answers, and the
values that its session must have, whatever host there is. Is not: what becomes of the host (`kills.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.faults.model import GONE, Model
from tests.mcp.line_client import WAIT_S, LineClient, data_of, error_of

LIMITS: Final = {"max_steps": 1_000_000, "budget_limit": 1_000_000_000, "max_runtime_ms": 86_400_000}
BEGIN: Final = "n = 0\ndata = []\nlarge = 'y' * 300_000"
BUSY: Final = "for _ in range(1_500_000): pass\n"
LONG_CHARS: Final = 300_000
"""Of a text in a request: more than the page of a connection holds of one line."""
CONTEXTS_MAX: Final = 3
WORDS: Final = ("may have run", "was not run")
NAMES: Final = ("n", "data")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request in flight."""

    request: int
    then: Callable[[dict[str, Any] | None], None]
    """Told of its result, or None: nobody knows what came of it."""
    is_cancelled: bool = False


@dataclass(slots=True)
class Account:
    """Which requests of a client were answered: each once, and one that was cancelled once at most.

    A host that is killed between writing an answer and noting that leaves it to its front, which says it once more,
    word by word (docs/decisions/0115-many-connections-in-one-process.md).
    """

    asked: dict[int, bool] = field(default_factory=dict)
    """Each id, and whether it was cancelled."""
    answered: dict[int, bytes] = field(default_factory=dict)
    """Each answer, as it came."""
    twice: int = 0
    """Answers that came twice, word by word."""

    seen: set[int] = field(default_factory=set)
    deaths: int = 0
    """How many hosts were killed."""
    cut_off: int = 0
    """Answers of more than 64 KB that a host was writing when it was killed: their lines are ended where they were."""

    def hear(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            assert line.startswith(b'{"jsonrpc":"2.0","id":'), line[:200]
            self.cut_off += 1
            return
        assert ("id" in message) != ("method" in message), line[:200]
        if "id" in message:
            before = self.answered.setdefault(message["id"], line)
            assert before == line, f"two answers to one request: {before[:300]!r}, {line[:300]!r}"
            self.twice += message["id"] in self.seen
            self.seen.add(message["id"])

    def check(self) -> None:
        assert self.twice <= self.deaths, "more answers came twice than hosts were killed"
        assert set(self.answered) <= set(self.asked), "an answer that nobody has asked for"
        silent = {one for one, is_cancelled in self.asked.items() if not is_cancelled} - set(self.answered)
        assert silent == set(), f"never answered: {silent}"


class Counted(LineClient):
    """A client that keeps account of its own requests."""

    account: Account

    def receive(self) -> dict[str, Any]:
        while True:
            cut_off = self.account.cut_off
            with contextlib.suppress(ValueError):
                return super().receive()
            assert self.account.cut_off > cut_off

    def take(self) -> None:
        """Read what has come by now: its front gets no further than a client reads."""
        while select.select([self.stdout], [], [], 0)[0] and (chunk := os.read(self.stdout.fileno(), 1 << 20)):
            self._rest += chunk

    def send(self, method: str, params: object = None) -> int:
        request = super().send(method, params)
        self.account.asked[request] = False
        return request


class Agent:
    """One client, and its session."""

    def __init__(self, client: Counted, chance: random.Random, files: tuple[str, int]) -> None:
        """`files`: the path of a large file in its working directory, and its characters."""
        self.client, self.random = client, chance
        self.path, self.chars = files
        client.account = Account()
        client.on_line = client.account.hear
        self.told: Counter[str] = Counter()
        self.number = 0
        client.initialize()
        self.begin_session()

    def begin_session(self) -> None:
        self.session_id = self.client.open_session("the first context", **LIMITS)
        self.model = Model()
        self.either: dict[str, tuple[Any, ...]] = {}
        """Names of which nobody knows whether a step has bound them: what they may be."""
        self.contexts: dict[str, bool] = {}
        """Added ones, and whether that was answered."""
        self.final_text = ""
        self._done(self.client.run(self.session_id, BEGIN), {"n": 0, "data": []})

    # --- what is asked at once -------------------------------------------------------------------

    def begin(self) -> list[Asked]:
        """Ask for one thing that changes something, and for some that only read."""
        self.number += 1
        changes: list[Callable[[], Asked]] = [
            *[self._step] * 4,
            self._cancelled_step,
            self._awaited_step,
            self._printing_step,
            self._opening,
            self._long_opening,
        ]
        changes += [self._context] * 2 if len(self.contexts) < CONTEXTS_MAX else [self._answer] * 4
        asked = [self.random.choice(changes)()]
        reads = self.random.sample([self._value, self._trace, self._list], self.random.randrange(3))
        return [*asked, *(read() for read in reads)]

    def _ask(self, tool: str, then: Callable[[dict[str, Any] | None], None], **arguments: Any) -> Asked:
        self.told[tool] += 1
        return Asked(self.client.begin(tool, arguments, {"progressToken": self.number}), then)

    def _run(self, code: str, changes: dict[str, Any], **arguments: Any) -> Asked:
        def then(result: dict[str, Any] | None) -> None:
            self._done(None if result is None else data_of(result), changes)

        self.either.update({name: (self.model.values[name], value) for name, value in changes.items()})
        return self._ask("rlm_run_repl", then, session_id=self.session_id, code=code, **arguments)

    def _next(self) -> tuple[str, dict[str, Any]]:
        code = f"{BUSY}n = {self.number}\ndata.append({self.number})"
        return code, {"n": self.number, "data": [*self.model.values["data"], self.number]}

    def _step(self) -> Asked:
        return self._run(*self._next())

    def _printing_step(self) -> Asked:
        code, changes = self._next()
        return self._run(f"print('x' * 90_000)\n{code}", changes, max_output_chars=100_000)

    def _cancelled_step(self) -> Asked:
        asked = self._run(*self._next())
        self.told["cancelled"] += 1
        signalled = {"requestId": asked.request, "reason": "a soak"}
        self.client.notify("notifications/cancelled", signalled)
        self.client.account.asked[asked.request] = True
        return Asked(asked.request, asked.then, is_cancelled=True)

    def _awaited_step(self) -> Asked:
        code, changes = self._next()
        begun = self._run(code, changes, wait_ms=0)
        report = data_of(self.client.result(begun.request))
        if report["status"] != "running":
            return begun
        index = report["step_index"]
        return self._ask(
            "rlm_await_step",
            lambda result: self._done(None if result is None else data_of(result), changes),
            session_id=self.session_id,
            step_index=index,
        )

    def _context(self) -> Asked:
        name = f"c{self.number}"

        def then(result: dict[str, Any] | None) -> None:
            self.contexts[name] = result is not None

        return self._ask("rlm_add_context", then, session_id=self.session_id, name=name, paths=[self.path])

    def _opening(self, text: str = "another context") -> Asked:
        def then(result: dict[str, Any] | None) -> None:
            if result is not None:
                opened = data_of(result)["session_id"]
                self.client.data("rlm_finalize", session_id=opened, final_text="not wanted")

        return self._ask("rlm_init_context", then, context_text=text)

    def _long_opening(self) -> Asked:
        return self._opening("z" * LONG_CHARS)

    def _answer(self) -> Asked:
        self.final_text = f"the answer {self.number}"
        return self._ask("rlm_finalize", lambda _result: None, session_id=self.session_id, final_text=self.final_text)

    def _value(self) -> Asked:
        def then(result: dict[str, Any] | None) -> None:
            if result is not None and not result.get("isError"):
                assert data_of(result)["value"] == "y" * 200_000

        own = {"session_id": self.session_id, "var_name": "large", "limit": 200_000}
        return self._ask("rlm_get_var", then, **own)

    def _trace(self) -> Asked:
        return self._ask("rlm_get_trace", lambda _result: None, session_id=self.session_id)

    def _list(self) -> Asked:
        return self._ask("rlm_list_sessions", lambda _result: None)

    # --- what comes of it ------------------------------------------------------------------------

    def settle(self, asked: Asked) -> None:
        """One request is answered, by its host or for it; of one that was cancelled that is not waited for."""
        if asked.is_cancelled:
            asked.then(None)
            return
        answer = self.client.answer(asked.request)
        if "error" in answer:
            assert answer["error"]["code"] == -32603, answer
            assert any(words in answer["error"]["message"] for words in WORDS), answer
            self.told["answered for it"] += 1
        else:
            self.told["answered by a host"] += 1
        asked.then(answer.get("result"))

    def _done(self, report: dict[str, Any] | None, changes: dict[str, Any]) -> None:
        """A step has ended so; None, or one that still runs: nobody knows."""
        if report is not None:
            self._hear(report["lost"])
        if report is None or report["status"] == "running":
            self.model.step_unknown(changes)
            return
        self.model.step_done(report, changes)
        if report["status"] in ("ok", "error"):
            for name in changes:
                self.either.pop(name, None)

    def _hear(self, lost: dict[str, Any] | None) -> None:
        self.model.told(lost)
        for row in lost["lost"] if lost is not None else ():
            self.either.pop(row["name"], None)

    def check(self) -> None:
        """The session goes on, with the values that it must have or what it has said that it lost."""
        if self.final_text:
            found = self.client.data("rlm_finalize", session_id=self.session_id, final_text=self.final_text)
            assert found["final_answer"] == self.final_text
            self.begin_session()
        self._step_now("None", {})
        for name in NAMES:
            self._check_value(name)
        if GONE in [self.model.values[name] for name in NAMES]:
            self.told["lost, and said so"] += 1
            self._step_now(BEGIN, {"n": 0, "data": []})
        self._check_contexts()
        self.client.account.check()
        self.client.seen.clear()

    def _check_value(self, name: str) -> None:
        result = self.client.call("rlm_get_var", session_id=self.session_id, var_name=name, limit=200_000)
        if result.get("isError"):
            assert error_of(result)["code"] == "VARIABLE_NOT_FOUND", result
        value = GONE if result.get("isError") else data_of(result)["value"]
        if name in self.either and name not in self.model.values:
            assert value in self.either[name], f"{name} is {value!r} and should be one of {self.either[name]!r}"
        self.either.pop(name, None)
        self.model.read(name, value)

    def _check_contexts(self) -> None:
        names = ["context", *self.contexts]
        report = self._step_now(f"[len(globals()[c]) if c in globals() else None for c in {names!r}]", {})
        found = dict(zip(names, json.loads(report["result"].replace("None", "null")), strict=True))
        assert found.pop("context") == len("the first context")
        for name, chars in found.items():
            assert chars == self.chars or (chars is None and not self.contexts[name]), (name, chars, self.contexts)
        self.contexts = {name: True for name, chars in found.items() if chars is not None}

    def _step_now(self, code: str, changes: dict[str, Any]) -> dict[str, Any]:
        """A step of which nothing is cut off; a call that was cancelled may have left its own running."""
        deadline = time.monotonic() + WAIT_S
        while (result := self.client.call("rlm_run_repl", session_id=self.session_id, code=code)).get("isError"):
            assert error_of(result)["code"] == "SESSION_BUSY", result
            assert time.monotonic() < deadline, result
            self.client.pause()
        report = data_of(result)
        assert report["status"] == "ok", report
        self._done(report, changes)
        return report

    def end(self) -> None:
        """Its ordinary end: every request has had its one answer, and nothing comes behind the last."""
        self.client.data("rlm_finalize", session_id=self.session_id, final_text="done")
        assert self.client.end() == 0
        for line in (self.client._rest + self.client.stdout.read()).splitlines():
            self.client.account.hear(line)
        self.client.account.check()
        self.told["lines cut off"] = self.client.account.cut_off
        self.told["answers that came twice, word by word"] = self.client.account.twice
