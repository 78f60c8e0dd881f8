"""Sub-agents that take questions, and do with them whatever sub-agents may: `bin/soak leases --count 100`.

Is: a driver whose code asks, and takers over fronts of their own that answer all, a part, late, twice, with refusals or
numbers of others, that are killed with a lease or an answer on its way, or interrupt the step. Is not: a host that dies
(`kills.py`), or a model.

After each round: no question has taken two answers; what the code has is what was taken, word by word; the report and
the trace say of every question what has become of it, once. At the end nothing waits and nothing is left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tests.front.hosts import HERE, Hosts
from tests.mcp.line_client import WAIT_S, LineClient
from tests.soaks.hosts.kills import hosts_of
from tests.soaks.hosts.left import Left

TAKERS: Final = 3
QUESTIONS_MAX: Final = 60
LEASE_S: Final = 1
ENV: Final = {
    "RLM_SUBCALL_LEASE_S": str(LEASE_S),
    "RLM_SUBCALL_MAX": "100000",
    "RLM_SUBCALL_MAX_TOKENS": "1000000000",
}
LIMITS: Final = {
    "max_steps": 1_000_000,
    "budget_limit": 1_000_000_000,
    "max_runtime_ms": 86_400_000,
    "max_subcalls": 100_000,
    "subcall_tokens_limit": 1_000_000_000,
}
INTERRUPTED: Final = 0.1
"""In how many rounds somebody interrupts the step."""
ASK: Final = """
import json
got = llm_query_batched([f"q{__ROUND__}-{n}" for n in range(__COUNT__)])
print(json.dumps([one if isinstance(one, str) else {"code": one.code} for one in got]))
"""
FATES: Final = re.compile(r"([\d,]+) ([a-z_]+)")
STRANGE: Final = 999_999_999


class Round:
    """One step, and what was said to its questions."""

    def __init__(self, session_id: str, count: int) -> None:
        self.session_id, self.count = session_id, count
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self.taken: dict[int, list[str]] = {}
        """By number the answers that were not rejected; at most one each."""
        self.declined: set[int] = set()
        self.unknown: dict[int, set[str]] = {}
        """Answers of which nobody knows whether they came: whoever brought them was killed."""
        self.refused: list[str] = []

    def heard(self, given: Sequence[dict[str, Any]], rejected: Sequence[int]) -> None:
        """What became of some answers. One that stands there twice is rejected once, if the first was taken."""
        left = Counter(rejected)
        with self._lock:
            for one in reversed(given):
                if left[one["id"]] > 0:
                    left[one["id"]] -= 1
                    self.refused.append(one.get("text", ""))
                elif "text" in one:
                    self.taken.setdefault(one["id"], []).append(one["text"])
                else:
                    self.declined.add(one["id"])
                    self.taken.setdefault(one["id"], []).append("")

    def lost(self, given: Sequence[dict[str, Any]]) -> None:
        """Nobody hears what became of them."""
        with self._lock:
            for one in given:
                self.unknown.setdefault(one["id"], set()).add(one.get("text", ""))

    def problems(self, found: list[Any] | None, status: str, fates: Counter[str]) -> list[str]:
        """What is not as it must be. `found`: what the code has got, where its step has ended by itself."""
        wrong = [f"question {one} took {len(said)} answers" for one, said in self.taken.items() if len(said) > 1]
        if fates.total() != self.count:
            wrong.append(f"{self.count} were asked, and the trace tells of {dict(fates)}")
        certain, possible = len(self.taken), len(self.taken.keys() | self.unknown.keys())
        if not certain <= fates["answered"] + fates["declined"] <= possible:
            wrong.append(f"{certain} to {possible} were answered, and the trace tells of {dict(fates)}")
        if found is None:
            return wrong if status == "interrupted" else [*wrong, f"the step ended with {status}"]
        said = {text for texts in self.taken.values() for text in texts}
        perhaps = {text for texts in self.unknown.values() for text in texts}
        for number, one in enumerate(found):
            if isinstance(one, str) and (f"q-{number}." not in one or one not in said | perhaps):
                wrong.append(f"question {number} got what nobody's answer was: {one}")
        if lost := [text for text in said - set(map(str, found)) if text]:
            wrong.append(f"taken and not delivered: {lost[:3]}")
        codes = Counter(one["code"] for one in found if isinstance(one, dict))
        if codes.keys() - {"declined"} or len(self.declined) > codes["declined"]:
            wrong.append(f"the code was told {dict(codes)}, and {len(self.declined)} were declined")
        return wrong


class Taker:
    """A sub-agent with a front of its own, and one after it where it is killed."""

    def __init__(self, hosts: Hosts, number: int, told: Counter[str]) -> None:
        self.hosts, self.number, self.told = hosts, number, told
        self._serial = 0
        self._begin()

    def _begin(self) -> None:
        self.client = self.hosts.client(f"taker{self.number}", env=ENV)
        self.client.initialize()

    def work(self, this: Round, chance: random.Random) -> None:
        """Take and answer until the step has ended."""
        given: list[dict[str, Any]] = []
        ways = (*[self.at_once] * 6, self.in_part, self.late, self.twice, self.killed, self.killed_on_the_way)
        while not this.ended.is_set():
            wanted = {"session_id": this.session_id, "answers": given, "take": chance.randint(1, 20)}
            page = self.client.data("rlm_answer", **wanted, max_output_chars=100_000)
            this.heard(given, page["rejected"])
            given = []
            if page["status"] != "needs_answers":
                this.ended.wait(0.05)  # others have all of them, or the step has ended
                continue
            way = chance.choice(ways)
            self.told[way.__name__.replace("_", " ")] += 1
            given = way(this, [self.answer(item, chance) for item in page["questions"]["items"]], chance)
        if given:  # they come too late
            rejected = self.client.data("rlm_answer", session_id=this.session_id, answers=given, take=1)["rejected"]
            assert sorted(rejected) == sorted(one["id"] for one in given), (rejected, given)

    def answer(self, item: dict[str, Any], chance: random.Random) -> dict[str, Any]:
        """What is said to a question: by whom, so that it is known whose answer the code has."""
        self._serial += 1
        if chance.random() < 0.05:
            return {"id": item["id"], "error": "it is not in the text"}
        place = item["prompt"].partition("-")[2]
        return {"id": item["id"], "text": f"q-{place}. {self.number}:{self._serial}"}

    def at_once(self, this: Round, given: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
        """All of them; now and then beside a number that is nobody's."""
        if chance.random() < 0.1:
            strange = self.client.data(
                "rlm_answer", session_id=this.session_id, answers=[{"id": STRANGE, "text": "x"}], take=1
            )
            assert strange["rejected"] == [STRANGE], strange
        return given

    def in_part(self, this: Round, given: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
        """The others are given back once their time is over."""
        del this
        return chance.sample(given, len(given) // 2)

    def late(self, this: Round, given: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
        """When others have been shown them too."""
        this.ended.wait(LEASE_S + chance.random())
        return given

    def twice(self, this: Round, given: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
        """In one call, and once more with the next."""
        del chance
        page = self.client.data("rlm_answer", session_id=this.session_id, answers=given + given, take=1)
        this.heard(given + given, page["rejected"])
        assert len(page["rejected"]) >= len(given), page["rejected"]
        return given

    def killed(self, this: Round, given: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
        """With a lease, and without an answer."""
        del this, given, chance
        self.end()
        self._begin()
        return []

    def killed_on_the_way(
        self, this: Round, given: list[dict[str, Any]], chance: random.Random
    ) -> list[dict[str, Any]]:
        """With answers that may have come or not."""
        this.lost(given)
        self.client.begin("rlm_answer", {"session_id": this.session_id, "answers": given, "take": 0, "wait_ms": 0})
        this.ended.wait(chance.choice((0, 0.001, 0.01)))
        return self.killed(this, given, chance)

    def end(self) -> None:
        """SIGKILL."""
        self.client.process.kill()
        self.client.process.wait()
        self.client.kill()
        self.hosts.clients.remove(self.client)


def fates_of(driver: LineClient, session_id: str, step_index: int) -> Counter[str]:
    """By the trace, what has become of a step's questions."""
    steps = {"from_step": step_index, "to_step": step_index}
    events = driver.data("rlm_get_trace", session_id=session_id, **steps, max_output_chars=100_000)["events"]
    told = Counter[str]()
    for event in events:
        if event["action"] == "subcalls":
            parts = event["summary"].partition(": ")[2].partition(";")[0]
            told.update({name: int(count.replace(",", "")) for count, name in FATES.findall(parts)})
    return told


def one_round(driver: LineClient, takers: Sequence[Taker], session_id: str, number: int, chance: random.Random) -> None:
    """A step, from its first question to its end. Raises: AssertionError."""
    count = chance.randint(1, QUESTIONS_MAX)
    this = Round(session_id, count)
    code = ASK.replace("__ROUND__", str(number)).replace("__COUNT__", str(count))
    whole = {"session_id": session_id, "max_output_chars": 200_000}
    data = driver.data("rlm_run_repl", **whole, code=code, timeout_ms=600_000)
    interrupts_s = time.monotonic() + chance.random() if chance.random() < INTERRUPTED else None
    with ThreadPoolExecutor(len(takers)) as pool:
        seeds = [random.Random(chance.random()) for _ in takers]
        working = [pool.submit(taker.work, this, seed) for taker, seed in zip(takers, seeds, strict=True)]
        try:
            until_s = time.monotonic() + 10 * WAIT_S
            while data["status"] in ("running", "needs_answers"):
                assert time.monotonic() < until_s, f"the step has not ended: {data}"
                assert not any(task.done() and task.exception() for task in working)
                if interrupts_s is not None and time.monotonic() > interrupts_s:
                    data = driver.data("rlm_interrupt", session_id=session_id)
                    continue
                this.ended.wait(0.05)
                data = driver.data("rlm_await_step", **whole, step_index=data["step_index"], wait_ms=200)
        finally:
            this.ended.set()
        for task in working:
            task.result()
    found = json.loads(data["stdout"]) if data["status"] == "ok" else None
    wrong = this.problems(found, data["status"], fates_of(driver, session_id, data["step_index"]))
    told = data["subcalls"]
    if told["asked"] != count or told["answered"] + sum(told["failed"].values()) != count:
        wrong.append(f"{count} were asked, and the report tells of {told}")
    assert not wrong, (wrong, data)


def run(count: int, seed: int) -> dict[str, Any]:
    """So many steps of one session."""
    told, chance = Counter[str](), random.Random(seed)
    with hosts_of(1) as hosts:
        left = Left(hosts)
        driver = hosts.client("driver", env=ENV)
        driver.initialize()
        (pid,) = hosts.everyone()
        session_id = driver.open_session("some text", **LIMITS)
        takers = [Taker(hosts, number, told) for number in range(TAKERS)]
        for number in range(count):
            one_round(driver, takers, session_id, number, chance)
            if (number + 1) % 20 == 0:
                print(f"{number + 1} of {count} rounds", file=sys.stderr, flush=True)
        left.look()
        rows = {row["session_id"]: row for row in driver.data("rlm_list_sessions")["sessions"]}
        waits = rows[session_id].get("waits_for_answers", 0)
        driver.data("rlm_finalize", session_id=session_id, final_text="done")
        for taker in takers:
            taker.end()
        assert driver.end() == 0
        assert HERE not in driver.log.read_text(encoding="utf-8")
        hosts.wait_for_end(pid)
        return {"waits": waits, "left": left.at_the_end(), **dict(sorted(told.items()))}


def main(argv: Sequence[str]) -> int:
    """`bin/soak leases`."""
    parser = argparse.ArgumentParser(prog="bin/soak leases", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="steps that ask (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn at random (default: 1)")
    found = parser.parse_args(argv)
    began = time.monotonic()
    table = run(found.count, found.seed)
    facts = {"soak": "leases", "rounds": found.count, "seed": found.seed, "s": round(time.monotonic() - began)}
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(facts | table))
    return int(bool(table["left"] or table["waits"]))
