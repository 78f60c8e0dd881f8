"""Batches of questions at random, cut off at random, against an endpoint that fails at random: `bin/soak questions`.

Is: two sessions of a registry that ask at once, in every way in which code can; interrupts, killed and stopped kernels,
tasks that are cancelled, ends of the server; and after each round what must be so whatever happened. Is not: servers
that are killed (`test_killed.py`, `test_hosts.py`), or hostile kernels (`tests/escape/`).

After each round: every answer is the one to its question; what was answered is never sent again; the endpoint has seen
no more than the trace has; a step's report adds up; the account, the limits' ledger and the day's count are the sum of
the trace's rows; nothing is open, under way or set aside. At the end no thread and no descriptor is left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.session.answering import retrying
from rlm_kernel_mcp.session.answering.switchboard import Switchboard
from rlm_kernel_mcp.session.asking.questions import Questions
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import Guardrails, StepReport
from rlm_kernel_mcp.store.subcalls import SubcallRow
from tests.endpoints.aside import asks
from tests.endpoints.endpoint import Endpoint, Fault, answered, cut_before, cut_within, no_http, response, says
from tests.sessions import SessionDriver, at_rest, open_registry, until

SESSIONS: Final = 2
NAMES: Final = 300
"""Of each session's questions: some of a batch were answered in one before."""
BATCH_MAX: Final = 60
TOLD_ROUNDS: Final = 20
CHECKED: Final = """
bad = [(name, got) for name, got in zip(names, found) if not isinstance(got, Exception) and got != f"echo of {name}"]
assert not bad, bad
len(found), sum(1 for got in found if isinstance(got, Exception))
"""
WAYS: Final = {
    "batch": "found = llm_query_batched(names)",
    "loop": """
def ask(name):
    try: return llm_query(name)
    except SubcallError as error: return error
found = [ask(name) for name in names]
""",
    "threads": """
from concurrent.futures import ThreadPoolExecutor
def ask(name):
    try: return llm_query(name)
    except SubcallError as error: return error
with ThreadPoolExecutor(6) as pool: found = list(pool.map(ask, names))
""",
    "batches in threads": """
from concurrent.futures import ThreadPoolExecutor
parts = [names[at::4] for at in range(4)]
with ThreadPoolExecutor(4) as pool: got = list(pool.map(llm_query_batched, parts))
found = [got[at % 4][at // 4] for at in range(len(names))]
""",
    "tasks": """
import asyncio
found = await asyncio.gather(*map(llm_query_async, names), return_exceptions=True)
""",
}
CUT_OFF: Final = """
import asyncio
tasks = [asyncio.ensure_future(llm_query_async(name)) for name in names]
await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
for task in tasks[::2]: task.cancel()
found = await asyncio.gather(*tasks, return_exceptions=True)
found = [got if not isinstance(got, BaseException) else RuntimeError() for got in found]
"""
"""Every other task is cancelled once one has its answer."""
OF_A_SERVER: Final = "writer of the store"
LEFT_IN_A_KERNEL: Final = "import threading\nsorted(thread.name for thread in threading.enumerate())"
CEILINGS: Final = {
    "RLM_SUBCALL_MAX": "100000",
    "RLM_SUBCALL_MAX_TOKENS": "1000000000",
    "RLM_SUBCALL_DAY_MAX": "1000000",
}


async def plainly(seen: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """No fault: the answer, after which the connection ends."""
    del reader
    writer.write(response(200, json.dumps(answered(seen, f"echo of {seen.user}")).encode()))
    await writer.drain()


FAULTS: Final[tuple[Fault, ...]] = (
    *[plainly] * 4,
    says(500),
    says(503, retry_after="0.01"),
    says(429, retry_after="0.01"),
    says(408),
    says(200, b"nope"),
    says(400, {"error": {"message": "not this one"}}),
    cut_before,
    cut_within,
    no_http,
)


def board_of(registry: Registry) -> Switchboard:
    """Who answers its sessions."""
    assert registry._board is not None
    assert isinstance(registry._board.board, Switchboard)
    return registry._board.board


def board_is_quiet(registry: Registry) -> bool:
    """Whether nothing is under way to the endpoint, or waits to be."""
    sender = board_of(registry)._sender
    turns = sender._turns
    return not (sender._tasks or turns.active or turns.waiting or turns._wanted_later)


class Soak:
    """One run: a registry at a time, whose sessions go on in the next one."""

    def __init__(self, chance: random.Random, endpoint: Endpoint, state_dir: Path, say: Callable[[str], None]) -> None:
        self.random, self.endpoint, self.state_dir, self.say = chance, endpoint, state_dir, say
        self.done, self.began_s = 0, time.monotonic()
        self.told: Counter[str] = Counter()
        self.prompts: dict[int, str] = {}
        """By row what it asked, which never changes."""
        self.final: dict[str, list[SubcallRow]] = {}
        """By session the rows of steps that were looked at when nothing was under way: to read all of them anew for
        each look was most of a long run."""
        self.session_ids: list[str] = []
        self.held: set[str] = set()
        endpoint.held = lambda seen: seen.user in self.held

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Registry]:
        """A registry, and what its day's count says after it has ended."""
        settings: dict[str, Any] = {**asks(self.endpoint, **CEILINGS)}
        async with open_registry(self.state_dir, **settings) as registry:
            while len(self.session_ids) < SESSIONS:
                limits = Guardrails(
                    max_steps=100_000,
                    max_runtime_ms=86_400_000,
                    budget_limit=1_000_000_000,
                    max_subcalls=100_000,
                    subcall_tokens_limit=1_000_000_000,
                )
                self.session_ids.append((await SessionDriver.open(registry, "a text", limits)).session_id)
            yield registry

    def names(self, number: int) -> list[str]:
        """Of one session's batch; some of them twice."""
        count = self.random.randint(1, BATCH_MAX)
        return [f"{number}.{self.random.randrange(NAMES)}" for _ in range(count)]

    async def rounds(self, count: int) -> None:
        """So many, with ends of the server between."""
        done = 0
        while done < count:
            async with self.opened() as registry:
                for _ in range(min(count - done, self.random.randint(3, 12))):
                    await self.round(registry)
                    done += 1
                    self.tell_of_a_round(registry)
                if done < count and self.random.random() < 0.5:
                    await self.left_in_the_middle(registry)
            self.told["ends of a server"] += 1
            self.held.clear()

    def tell_of_a_round(self, registry: Registry) -> None:
        """Now and then, on stderr: a run that is slow looks like one that hangs."""
        self.done += 1
        if not self.done % TOLD_ROUNDS:
            took_s = time.monotonic() - self.began_s
            self.say(f"{self.done} rounds after {took_s:.0f} s, {len(self.rows(registry)):,} rows")

    async def round(self, registry: Registry) -> None:
        """Each session asks, and something happens; then it asks again, and the endpoint is well."""
        drivers = [SessionDriver(registry, session_id) for session_id in self.session_ids]
        for driver in drivers:
            await driver.ok("1")  # it may have been restored
        batches = [self.names(number) for number in range(SESSIONS)]
        known = self.answered(registry)
        before = len(self.endpoint.seen)
        self.endpoint.faults.extend(self.random.choices(FAULTS, k=self.random.randrange(20)))
        event = self.random.choice(EVENTS)
        if event is not nothing_happens:
            everything = [name for batch in batches for name in batch]
            self.held = set(self.random.sample(everything, k=self.random.randint(0, len(everything) // 2)))
        self.told[event.__name__] += 1
        codes = [self.code(batch) for batch in batches]
        begun = [await driver.run(code, wait_ms=0) for driver, code in zip(drivers, codes, strict=True)]
        wanted = before + self.random.randrange(40)
        await until(
            lambda: (
                len(self.endpoint.seen) >= wanted
                or any(seen.user in self.held for seen in self.endpoint.seen[before:])
                or not any(map(is_running, drivers))
            )
        )
        await event(self, drivers)
        reports = [await driver.end_of(one.step_index) for driver, one in zip(drivers, begun, strict=True)]
        for report in reports:
            self.check_report(report)
        self.endpoint.faults.clear()
        self.held.clear()
        await self.check(registry, drivers, known, before)
        known, before = self.answered(registry), len(self.endpoint.seen)
        for driver, batch in zip(drivers, batches, strict=True):
            report = await driver.ok(self.code(batch, way=self.random.choice([*WAYS.values()])))
            assert report.result == f"({len(batch)}, 0)", report
            self.check_report(report)
        await self.check(registry, drivers, known, before)

    async def left_in_the_middle(self, registry: Registry) -> None:
        """A batch under way as the server ends; the next one asks for what was not answered."""
        for number, session_id in enumerate(self.session_ids):
            names = self.names(number)
            self.held |= set(names[::2])
            await SessionDriver(registry, session_id).run(self.code(names), wait_ms=0)
        self.told["batches that an end cut off"] += SESSIONS

    def code(self, names: list[str], way: str | None = None) -> str:
        """A step that asks these."""
        way = way or self.random.choice([*WAYS.values(), CUT_OFF])
        return f"names = {names!r}\n{way}\n{CHECKED}"

    # --- what must be so

    def rows(self, registry: Registry) -> list[SubcallRow]:
        """The trace of all sessions."""
        return [row for session_id in self.session_ids for row in self.rows_of(registry, session_id)]

    def rows_of(self, registry: Registry, session_id: str) -> list[SubcallRow]:
        """The trace of one."""
        final = self.final.get(session_id, [])
        from_step = final[-1].step_index + 1 if final else None
        return [*final, *registry.store.subcalls.rows(session_id, from_step)]

    def answered(self, registry: Registry) -> set[str]:
        """The questions that have an answer, by the trace."""
        found = set()
        for row in self.rows(registry):
            if row.fate in ("answered", "late") and not row.error_code:
                found.add(self.prompt(registry, row))
        return found

    def prompt(self, registry: Registry, row: SubcallRow) -> str:
        """What a row asked; empty where that is another row's, or was not sent."""
        if row.id not in self.prompts:
            self.prompts[row.id] = registry.store.subcalls.texts(row.session_id, row.id).prompt or ""
        return self.prompts[row.id]

    def check_report(self, report: StepReport) -> None:
        """Each question has one end."""
        self.told[report.status] += 1
        if (told := report.subcalls) is not None:
            ends = told.answered + told.cached + told.duplicate + sum(told.failed.values())
            assert told.asked == ends, told
            self.told["questions"] += told.asked
            self.told["cached"] += told.cached

    async def check(self, registry: Registry, drivers: Sequence[SessionDriver], known: set[str], before: int) -> None:
        """What must be so. `known`: what was answered at a moment, and `before`: how many requests had come by then."""
        await until(lambda: board_is_quiet(registry))
        for driver in drivers:
            await board_of(registry).settled(driver.session_id)
        again = {seen.user for seen in self.endpoint.seen[before:]} & known
        assert again == set(), f"asked again although answered: {again}"
        rows = self.rows(registry)
        paid = Counter(
            self.prompt(registry, row) for row in rows if row.fate in ("answered", "late") and not row.error_code
        )
        assert max(paid.values(), default=0) <= 1, [name for name, count in paid.items() if count > 1]
        attempts: Counter[str] = Counter()
        for row in rows:
            attempts[self.prompt(registry, row)] += row.attempts
        more = Counter(seen.user for seen in self.endpoint.seen) - attempts
        told = [
            (prompt, row.number, row.step_index, row.fate, row.error_code, row.attempts)
            for row in rows
            if (prompt := self.prompt(registry, row)) in more
        ]
        assert not more, (more, told, [seen.user in more for seen in self.endpoint.seen[before:]], dict(self.told))
        assert registry.handles._shared.room._taken == 0
        for driver in drivers:
            self.check_session(registry, driver)
            rows_now = self.rows_of(registry, driver.session_id)
            self.final[driver.session_id] = sorted(rows_now, key=lambda row: row.step_index)

    def check_session(self, registry: Registry, driver: SessionDriver) -> None:
        """The account is the sum of its rows, and nothing is open or set aside."""
        sent = [row for row in self.rows_of(registry, driver.session_id) if row.attempts]
        answering = driver.session.kernel.recovery.answering
        assert isinstance(answering, Questions)
        nesting: Any = answering._answers
        broker = nesting.broker
        used, ledger = driver.session.account.subcalls, broker.ledger
        tokens = sum(row.tokens_in + row.tokens_out for row in sent)
        assert (used.calls, used.tokens) == (len(sent), tokens), (used, len(sent), tokens)
        assert (ledger.used.subcalls, ledger.used.tokens) == (used.calls, used.tokens)
        assert (ledger._open, ledger._tokens_set_aside) == (0, 0)
        assert (nesting._open, broker._open, broker._jobs) == ({}, {}, {})

    def check_day(self, registry: Registry, days: Sequence[str]) -> int:
        """After a server's end: what was taken of the day and not asked is given back. Returns what was asked."""
        asked = sum(registry.store.answers.asked_on(day) for day in set(days))
        known = self.rows(registry)
        self.final.clear()
        rows = self.rows(registry)
        assert sorted(row.id for row in rows) == sorted(row.id for row in known), "a row has come late, or is gone"
        sent = sum(1 for row in rows if row.attempts)
        assert asked == sent or len(set(days)) > 1, (asked, sent)
        return sent


# --- what happens


async def nothing_happens(soak: Soak, drivers: Sequence[SessionDriver]) -> None:
    """The endpoint's faults are enough."""
    del soak, drivers


async def interrupted(soak: Soak, drivers: Sequence[SessionDriver]) -> None:
    """One step or both."""
    for driver in soak.random.sample(drivers, k=soak.random.randint(1, len(drivers))):
        if is_running(driver):
            await driver.interrupt()
    soak.held.clear()


async def killed(soak: Soak, drivers: Sequence[SessionDriver]) -> None:
    """One kernel."""
    driver = soak.random.choice(drivers)
    if is_running(driver):
        driver.kernel.process.kill()
    soak.held.clear()


async def stopped_for_a_while(soak: Soak, drivers: Sequence[SessionDriver]) -> None:
    """One kernel takes none of its answers until all are there."""
    driver = soak.random.choice(drivers)
    if is_running(driver):
        process = driver.kernel.process
        process.send_signal(signal.SIGSTOP)
        soak.held.clear()
        await until(lambda: board_is_quiet(driver.registry))
        process.send_signal(signal.SIGCONT)
    soak.held.clear()


EVENTS: Final[tuple[Callable[[Soak, Sequence[SessionDriver]], Any], ...]] = (
    nothing_happens,
    interrupted,
    interrupted,
    killed,
    stopped_for_a_while,
)


def is_running(driver: SessionDriver) -> bool:
    """Whether its step is."""
    return driver.session._running is not None


# --- the run


def descriptors() -> Counter[str]:
    """What this process has open, by kind."""
    found: Counter[str] = Counter()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found[str(path.readlink()).partition(":[")[0]] += 1
    return found


def threads() -> Counter[str]:
    """Those of this process by name, but for pools of a whole process: their threads stay for whoever needs one."""
    names = (re.sub(r"[-_]?\d+$", "_", thread.name) for thread in threading.enumerate())
    return Counter(name for name in names if not name.endswith("_") or name.startswith(OF_A_SERVER))


async def play(count: int, seed: int, state_dir: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """All rounds; raises at the first promise that does not hold."""
    retrying.FIRST_PAUSE_S = retrying.LONGEST_PAUSE_S = 0.001  # type: ignore[misc]
    async with Endpoint() as endpoint:
        soak = Soak(random.Random(seed), endpoint, state_dir, say)
        days = [datetime.now(UTC).date().isoformat()]
        await soak.rounds(min(count, 2))  # what is made once is there
        await at_rest()
        await until(lambda: not endpoint._connections)
        opened_before, threads_before = descriptors(), threads()
        try:
            await soak.rounds(count)
        except BaseException:
            say(f"seed {seed}: {dict(soak.told)}")
            raise
        days.append(datetime.now(UTC).date().isoformat())
        async with soak.opened() as registry:
            sent = soak.check_day(registry, days)
            drivers = [SessionDriver(registry, session_id) for session_id in soak.session_ids]
            for driver in drivers:
                await driver.ok("llm_query('one more')")
                left = (await driver.ok(LEFT_IN_A_KERNEL)).result or ""
                assert (left.count("questions in"), left.count("questions out")) == (1, 1), left
                assert "ThreadPoolExecutor" not in left, left
        await at_rest()
        await until(lambda: not endpoint._connections)
        await until(lambda: not threads() - threads_before)
        left_open = descriptors() - opened_before
        assert not left_open, (left_open, opened_before)
    return {"requests": len(endpoint.seen), "sent": sent, **soak.told}


def run(count: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """In a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="rlm-q-") as directory:
        return asyncio.run(play(count, seed, Path(directory), say))


def main(argv: Sequence[str]) -> int:
    """`bin/soak questions`."""
    parser = argparse.ArgumentParser(prog="bin/soak questions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="rounds (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn at random (default: 1)")
    found = parser.parse_args(argv)
    began = time.monotonic()
    table = run(found.count, found.seed, lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps({"soak": "questions", "seed": found.seed, "s": round(time.monotonic() - began), **table}))
    return int(not table["questions"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
