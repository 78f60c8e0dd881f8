"""What `search` takes in a session, against ripgrep on the same file in the C locale with one thread.

Of a log in ASCII, which is mapped where it lies, and of one in UTF-8, which is spooled with 4 bytes a character.
Processor time of each. Without ripgrep on this machine (`rg`) GNU grep is used instead, and the rows have no bar.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.bars.mapped import SMALL_MB
from bench.measure import Amounts, Bar, Figures, Row, interleave
from bench.processes import MB
from bench.sides.in_process import our_sessions, result_of
from rlm_kernel_mcp.api import Session

LEVELS = ["INFO"] * 40 + ["DEBUG"] * 6 + ["WARN"] * 3 + ["ERROR"]
MESSAGES = (
    "request served path=/api/v1/items/{} status=200 ms={}", "cache miss key=user:{} ttl={}",
    "retrying after {} ms attempt={}", "job {} finished in {} ms", "payload {} bytes written to segment {}",
    "query took {} ms rows={}", "timeout waiting for lock table=orders_{} owner=tx{}",
    "user {} logged in from 10.0.0.{}", "connected to 10.1.2.{} port={}", "email to customer{}@example.com queued {}",
)  # fmt: skip
LINES = "".join(
    f"2026-{number % 12 + 1:02}-{number * 7 % 28 + 1:02}T23:{number * 3 % 60:02}:{number * 11 % 60:02}.000Z "
    f"{LEVELS[number * 13 % 50]:5} [worker-{number % 31}] "
    + MESSAGES[number * 17 % 97 % 10].format(number * 7919 % 999_983, number * 31 % 9_973)
    + "\n"
    for number in range(8_000)
)
"""Lines of a log in a realistic mix: 1 in 50 is an error, 1 in 10 names a customer."""
WORDS = [f"customer{number}@" for number in range(11, 30)] + ["NEEDLE"]
FREQUENT = (
    "ERROR", "owner=tx", "email to customer", "10.1.2.", "deadlock", "refused", "segfault", "overflow", "unreachable",
    "checksum", "quota", "certificate", "handshake", "rollback", "corrupt", "panic", "throttled", "expired", "denied",
    "stale",
)  # fmt: skip
"""Of which four stand in one line of three: 3.7 million in a gigabyte."""
WHY_FREQUENT = (
    "of each match ahocorasick_rs makes a tuple, of which two numbers are taken (31 ns); with the tuples alone it "
    "takes 1.4 times as long as ripgrep, which counts lines, and leaves the rest of a line once one is found "
    "(decision 0119)"
)
WHY_ANOTHER_COPY = (
    "the UTF-8 in the spool is another copy than the file that ripgrep has just read, and memory in no cache of "
    "the processor takes 50 to 70 ms more for 512 MB, whoever reads it (decision 0119)"
)
OTHER_LETTERS = "Gr\xfc\xdfe, \u041f\u0440\u0438\u0432\u0435\u0442, \u65e5\u672c, \U0001f600"
EXPRESSIONS = (
    r"ERROR .*customer[0-9]+@",
    r"([a-z]+)*=[0-9]+x",
    r"[0-9]{4}-12-28T23:59:5[0-9]",
    r"(?i)timeout waiting",
    r"[0-9A-Za-z_]+@example",
)
"""A prefix; a nasty one that matches nothing; one without a literal; one in any case; one that can begin anywhere."""
RARE = r"[0-9]+ marker NEEDLE-0000[0-9]"
HOSTILE = (r"(x+x+)+y", r"([a-z]*a){12}[0-9]{40}", r"(a|aa)*b[0-9]x", r"(.*)(.*)(.*)=x")


async def search(amounts: Amounts) -> list[Row]:
    """All positions in 1 GB of a log in ASCII, mapped, in sessions of 1 GB."""
    return await _search(amounts, 1024, "", "a log")


async def search_utf8(amounts: Amounts) -> list[Row]:
    """The same of 512 MB in UTF-8, which is more than the UTF-8 of a text in memory is kept for."""
    return await _search(amounts, 512, f" {OTHER_LETTERS}", "a log in UTF-8")


async def _search(amounts: Amounts, megabytes: int, marked: str, which: str) -> list[Row]:
    size = max(SMALL_MB, amounts.megabytes(megabytes))
    with our_sessions({"RLM_MEMORY_LIMIT_MB": "64"} if amounts.smoke else None) as (sessions, directory):
        path = directory / "log.txt"
        write_log(path, size, marked)
        sides = _Sides(sessions.open(context_paths=path), path, f" in {size:,} MB of {which}")
        why = WHY_ANOTHER_COPY if marked else ""
        words, frequent = ["-F", *_each(WORDS)], ["-F", *_each(FREQUENT)]
        rows = [
            await sides.row("a literal", repr("ERROR"), ["-F", "ERROR"], Bar(2), amounts, why),
            await sides.row("20 rare literals", repr(WORDS), words, Bar(1.5), amounts, why),
            await sides.row("20 frequent literals", repr(FREQUENT), frequent, Bar(1.5), amounts, WHY_FREQUENT),
            await sides.row("a pattern with a rare literal", _pattern(RARE), [RARE], Bar(2.5), amounts),
        ]
        five = [await sides.row(f"the pattern `{one}`", _pattern(one), [one], Bar(8), amounts) for one in EXPRESSIONS]
        hostile = [await sides.row(f"the pattern `{one}`", _pattern(one), [one], Bar(12), amounts) for one in HOSTILE]
    return [*rows, *five, sides.mean(five, why), *hostile]


def write_log(path: Path, megabytes: int, marked: str = "") -> None:
    """Write a log of about that size, with a number every 6 MB. `marked`: what else stands beside the number."""
    with path.open("w", encoding="utf-8") as file:
        block = 0
        while file.tell() < megabytes * MB:
            file.write(f"# {block} marker NEEDLE-{block:05d}{marked}\n" + LINES * 8)
            block += 1


class _Sides:
    """A session over a file, and the program that it is compared with."""

    def __init__(self, session: Session, path: Path, which: str) -> None:
        self._session, self._path, self._which = session, path, which
        result_of(session, "import time")
        self._rg = shutil.which("rg")

    async def row(
        self, what: str, argument: str, program: Sequence[str], bar: Bar, amounts: Amounts, why_missed: str = ""
    ) -> Row:
        """Every position that is found, against the number of lines that the program counts."""

        async def ours() -> float:
            return self._spent(argument)

        async def theirs() -> float:
            return self._of_program(program)

        # An even number: the order is reversed each time, so each side is as often behind itself as behind the other,
        # which has read another copy of the text and left the processor's cache full of it (decision 0119).
        mine, other = await interleave([ours, theirs], amounts.times(4), warm_up=1)
        name = f"`search` finds every place of {what}{self._which} (processor time)"
        return Row(name, mine, self._name, other, bar=bar if self._rg else None, why_missed=why_missed)

    def mean(self, rows: Sequence[Row], why_missed: str) -> Row:
        """The geometric mean of some rows, so that none outweighs another."""
        others = [row.other for row in rows if row.other is not None]
        mine, other = (
            Figures(tuple(map(_geometric_mean, zip(*(side.samples for side in sides), strict=True))))
            for sides in ([row.ours for row in rows], others)
        )
        what = f"`search` finds every place of these five patterns{self._which} (geometric mean)"
        return Row(what, mine, self._name, other, bar=Bar(3) if self._rg else None, why_missed=why_missed)

    @property
    def _name(self) -> str:
        return f"{'`rg -j1`' if self._rg else '`grep -E`'} counts its lines"

    def _spent(self, argument: str) -> float:
        code = f"before = time.process_time(); found = search({argument}, limit=None); time.process_time() - before"
        took = float(result_of(self._session, code))
        result_of(self._session, "del found")
        return took * 1_000

    def _of_program(self, arguments: Sequence[str]) -> float:
        start = [self._rg, "--no-config", "-j1", "-a", "-c"] if self._rg else ["grep", "-E", "-a", "-c"]
        if not self._rg and arguments[0] == "-F":
            start.remove("-E")
        command = shlex.join([*start, *arguments, str(self._path)])
        # Into a pipe: GNU grep ends at the first match where its output is the null device.
        program = subprocess.Popen(f"{command} | cat > /dev/null", shell=True, env={**os.environ, "LC_ALL": "C"})
        _, status, used = os.wait4(program.pid, 0)  # of this child alone: kernels and loaders are others of ours
        program.returncode = os.waitstatus_to_exitcode(status)
        return (used.ru_utime + used.ru_stime) * 1_000


def _pattern(pattern: str) -> str:
    return f"{pattern!r}, regex=True"


def _each(words: Sequence[str]) -> list[str]:
    return [part for word in words for part in ("-e", word)]


def _geometric_mean(numbers: Sequence[float]) -> float:
    return math.prod(max(number, 0.01) for number in numbers) ** (1 / len(numbers))
