"""A log larger than the kernel's memory: three questions about 2 GB in a session with 512 MB.

Is: what an agent does with a file that is larger than its kernel's memory: open it by path, where it is mapped and not
read into memory, and work on `context` as on any text. Is not: a benchmark; but each step says how long it took, and in
the end stands what was held in memory. The answers are checked against what was counted while the log was written
(`large_log.py`), and it exits 1 if they differ.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from mcp import Client, StdioServerParameters

from demo.agent import ROOT, Agent, SessionFailed, first_of, say_citations, show_trace
from demo.large_log import MB, Truth, write_log
from demo.memory import MemoryWatch, Seen, pss_kb
from rlm_kernel_mcp.context.held import lies_in_memory

LARGE_MB: Final = 2_048
SMALLEST_MB: Final = 160
"""A context of up to a quarter of the session's memory is held in memory; the demo needs a larger one."""
LIMIT_MB: Final = 512
REQUEST: Final = re.compile(r"request (q\S+) begun")
SPARE_MB: Final = 512
"""Disk space to leave free besides the log."""
HASH_TRIES: Final = 120
HASH_LOOK_S: Final = 0.5
PLACES: Final = (None, "/var/tmp")  # noqa: S108 (a directory of its own is made in it, and removed)
"""Where the log may be written: TMPDIR, and a directory that is on disk where TMPDIR is memory."""

LOOK: Final = """
first, last = context[:context.find("\\n")], context[context.rfind("\\n", 0, -1) + 1:-1]
print(f"{len(context):,} characters, {type(context).__name__}; from {first[:23]} to {last[:23]}")
"""

ERRORS: Final = """
import re
from collections import Counter

# The level stands at one place of a line, 24 characters behind its beginning; messages speak of errors too.
errors_by_hour = Counter(
    context[at - 24 : at - 11]
    for match in re.finditer("ERROR ", context)
    if (at := match.start()) == 24 or context[at - 25] == "\\n"
)
print(f"{errors_by_hour.total():,} errors in {len(errors_by_hour):,} hours; worst: {errors_by_hour.most_common(1)}")
"""

GAP: Final = """
import re
from datetime import datetime, timedelta

def time_at(line):
    return context[line : line + 23]

# Lines are in order, so a silence of more than a minute lies between two lines of different minutes: one look for the
# beginning of each following minute is enough, unless the longest found so is shorter than that.
gap, line = (timedelta(0), "", ""), 0
while True:
    minute = context[line : line + 16]
    next_minute = (datetime.fromisoformat(minute) + timedelta(minutes=1)).isoformat(timespec="minutes")
    end = context.find("\\n" + next_minute, line, line + 1_000_000)
    if end < 0:  # that minute has no line: the first line that is of another one
        match = re.compile(f"\\n(?!{minute}|$)").search(context, line)
        if match is None:
            break
        end = match.start()
    before, after = time_at(context.rfind("\\n", 0, end) + 1), time_at(end + 1)
    gap = max(gap, (datetime.fromisoformat(after) - datetime.fromisoformat(before), before, after))
    line = end + 1
assert gap[0] > timedelta(minutes=1)
print(f"{gap[0]} between {gap[1]} and {gap[2]}")
"""

NEVER_ENDED: Final = """
begun, most = set(), 0
for request, what in (match.groups() for match in re.finditer(r"request (q\\S+) (begun|ended)", context)):
    (begun.add if what == "begun" else begun.remove)(request)
    most = max(most, len(begun))
print(f"never ended: {sorted(begun)}; at most {most:,} were under way at a time")
"""

CITE: Final = """
after = search(gap[2], limit=1)[0].lines()
before = span(after.start - 1, after.start).lines()
silence = cite(span(before.start, after.end))
lost = [cite(search(f"request {request} begun", limit=1)[0].lines()) for request in sorted(begun)]
print(f"{silence} lines {before.line:,} and {after.line:,};", *(f"{one} line {one.span.line:,}" for one in lost))
"""

AGGREGATE: Final = """
answers = {
    "errors_by_hour": dict(errors_by_hour),
    "gap": [gap[0] // timedelta(milliseconds=1), gap[1], gap[2]],
    "never_ended": sorted(begun),
}
hour, count = max(errors_by_hour.items(), key=lambda item: (item[1], item[0]))
report = "\\n".join([
    f"Errors: {errors_by_hour.total():,}; the worst hour is {hour} with {count:,}",
    f"Longest silence: {answers['gap'][0]:,} ms, from {gap[1]} to {gap[2]} {silence}",
    f"Never ended: {', '.join(f'{request} {mark}' for request, mark in zip(answers['never_ended'], lost))}",
])
len(report)
"""

STEPS: Final = (
    ("look", LOOK),
    ("errors", ERRORS),
    ("silence", GAP),
    ("never ended", NEVER_ENDED),
    ("cite", CITE),
    ("aggregate", AGGREGATE),
)


class NoPlace(Exception):
    """There is no disk space for the log."""


def main(megabytes: int) -> int:
    """Write the log, run the session and check it; returns the exit status."""
    if megabytes < SMALLEST_MB:
        why = f"--large-mb is {megabytes:,}; the least is {SMALLEST_MB:,} MB, since less is not mapped"
        print(f"bin/demo: {why}.", file=sys.stderr)
        return 2
    try:
        place = place_for(megabytes)
        with tempfile.TemporaryDirectory(prefix="rlm-demo-", dir=place) as directory:
            started = time.perf_counter()
            log = Path(directory) / "service.log"
            print(f"Writing a log of {megabytes:,} MB into {directory} ...", flush=True)
            truth = write_log(log, megabytes)
            seconds = time.perf_counter() - started
            print(f"{truth.bytes:,} bytes, {truth.lines:,} lines, written and counted in {seconds:.1f} s\n")
            return check(truth, *asyncio.run(run_session(log, Path(directory))))
    except NoPlace as error:
        print(f"bin/demo: {error}", file=sys.stderr)
    except BaseExceptionGroup as group:  # the client's task groups wrap what is raised inside of them
        if (failed := group.subgroup(SessionFailed)) is None:
            raise
        print(f"bin/demo: {first_of(failed)}", file=sys.stderr)
    return 1


def place_for(megabytes: int) -> str:
    """A directory on a disk with room for the log: a file in memory would not be mapped.

    Raises:
        NoPlace: there is none, and why.
    """
    why = []
    for place in dict.fromkeys(place or tempfile.gettempdir() for place in PLACES):
        if not Path(place).is_dir():
            continue
        free_mb = shutil.disk_usage(place).free // MB
        if is_in_memory(place):
            why.append(f"{place} lies in memory")
        elif free_mb < megabytes + SPARE_MB:
            why.append(f"{place} has {free_mb:,} MB free")
        else:
            return place
    raise NoPlace(
        f"the log of {megabytes:,} MB needs {megabytes + SPARE_MB:,} MB free on a disk, for as long as the demo runs: "
        f"{'; '.join(why)}. Set TMPDIR to a directory with room, or give a smaller size with --large-mb."
    )


def is_in_memory(place: str) -> bool:
    """Whether a directory is on a file system in memory."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return lies_in_memory(descriptor)
    finally:
        os.close(descriptor)


async def run_session(log: Path, state: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Run one session; returns what it was told about the context, its answers, and its final answer."""
    server = StdioServerParameters(
        command=str(ROOT / "bin" / "rlm-mcp"),
        env={
            "RLM_CONTEXT_ROOTS": str(log.parent),
            "RLM_STATE_DIR": str(state / "state"),
            "RLM_MEMORY_LIMIT_MB": str(LIMIT_MB),
            "RLM_HOST": "off",  # the server's memory is looked at below this process
        },
        cwd=log.parent,
    )
    async with Client(server) as client:
        agent = Agent(client)
        with MemoryWatch() as watch:
            context = await open_context(agent, log)
            for title, code in STEPS:
                await agent.step(title, code)
            context["sha256"] = context["sha256"] or await hash_of(agent)
            say_memory(context, watch)
        answers = await agent.call("rlm_get_var", session_id=agent.session_id, var_name="answers", limit=100_000)
        final = await agent.call("rlm_finalize", session_id=agent.session_id, final_var_name="report")
        say_citations(final)
        await show_trace(agent)
    share = agent.chars_received / context["chars"]
    print(f"\n{agent.chars_received:,} characters reached the client: {share:.4%} of the log.")
    print(f"\n{final['final_answer']}\n")
    return context, answers["value"], final


async def open_context(agent: Agent, log: Path) -> dict[str, Any]:
    """Open the log by its path; returns what the server says about the context."""
    context, seconds = await agent.open(
        [log.name], wait_ms=600_000, max_runtime_ms=3_600_000, step_timeout_ms=1_800_000
    )
    print(
        f"Session {agent.session_id}, {LIMIT_MB} MB of memory: {context['chars']:,} characters, "
        f"{context['lines']:,} lines by path in {seconds:.2f} s; held: {context['held']}\n"
    )
    return context


async def hash_of(agent: Agent) -> str | None:
    """The context's hash, which is computed while the session works; None if it takes too long."""
    for _ in range(HASH_TRIES):
        listed = await agent.call("rlm_list_sessions")
        (session,) = (one for one in listed["sessions"] if one["session_id"] == agent.session_id)
        digest: str | None = session["context"].get("sha256")
        if digest is not None:
            return digest
        await asyncio.sleep(HASH_LOOK_S)
    return None


def say_memory(context: dict[str, Any], watch: MemoryWatch) -> None:
    """Report what is held in memory, while the session still exists."""
    held = f"a context of {context['bytes'] // MB:,} MB that is held: {context['held']}"
    print(f"\nMemory, of {held}; the server is this session's own (RLM_HOST=off):")
    for name, one in (("kernel", watch.kernel), ("server", watch.server)):
        print(f"  {name}  {one.own_kb / 1024:6.0f} MB of its own at most{_shared(one)}")


def _shared(one: Seen) -> str:
    pss = pss_kb(one.pid)
    if pss is None:
        return ""
    return f"; of all memory {pss['Pss'] / 1024:,.0f} MB, of which {pss.get('Pss_File', 0) / 1024:,.0f} MB are files'"


def check(truth: Truth, context: dict[str, Any], answers: dict[str, Any], final: dict[str, Any]) -> int:
    """Compare the session's answers with what was counted as the log was written; returns the exit status."""
    hours = {hour: count for hour, count in truth.errors_by_hour.items() if count}
    cited = final["citations"]
    times = [line[:23] for line in cited[0]["text"].splitlines()]
    requests = [REQUEST.findall(one["text"])[0] for one in cited[1:]]
    compared = {
        "bytes": (context["bytes"], truth.bytes),
        "characters": (context["chars"], truth.bytes),
        "lines": (context["lines"], truth.lines),
        "sha256": (context["sha256"], truth.sha256),
        "held": (context["held"], "mapped"),
        "errors by hour": (answers["errors_by_hour"], hours),
        "longest silence": (answers["gap"], list(truth.gap)),
        "never ended": (answers["never_ended"], truth.never_ended),
        "final answer": (final["final_answer"], report(truth)),
        "citations": ([one["status"] for one in cited], ["verified"] * (1 + len(truth.never_ended))),
        "the lines around the silence": (times, list(truth.gap[1:])),
        "the requests that are cited": (requests, truth.never_ended),
    }
    wrong = {what: pair for what, pair in compared.items() if pair[0] != pair[1]}
    for what, (found, ours) in wrong.items():
        print(f"MISMATCH in {what}: the session has {found!r}, the check {ours!r}", file=sys.stderr)
    if not wrong:
        print("Checked: what was counted while the log was written agrees in all.")
    return 1 if wrong else 0


def report(truth: Truth) -> str:
    """The final answer that the session must give, to the character."""
    hour, count = max(truth.errors_by_hour.items(), key=lambda item: (item[1], item[0]))
    gap_ms, before, after = truth.gap
    return "\n".join(
        [
            f"Errors: {truth.errors_by_hour.total():,}; the worst hour is {hour} with {count:,}",
            f"Longest silence: {gap_ms:,} ms, from {before} to {after} [c1]",
            f"Never ended: {', '.join(f'{one} [c{number}]' for number, one in enumerate(truth.never_ended, start=2))}",
        ]
    )
