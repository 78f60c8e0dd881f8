"""A log of any size, written quickly, with the true answers counted as it is written.

Is: a seeded log of a service, minute by minute; each minute is one of a few dozen that were made beforehand, with its
own time and its own request ids put in. Is not: a reader; what is counted is what was put in, so that whoever reads the
file has to find the same by himself. Above: `large_questions.py`. Below: `bench/progress.py`.

    2026-03-01T00:00:00.041 INFO  [auth-3] request q0000000-0007 begun path=/api/v1/items/4133 peer=10.7.0.19
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

from bench.progress import told

MB: Final = 1 << 20
PAUSE_S: Final = 0.1
"""Between two times that a person is told how far it is."""
SEED: Final = 11
FIRST_MINUTE: Final = datetime(2026, 3, 1)  # noqa: DTZ001 (a log's own clock)
MINUTES_MADE: Final = 48
REQUESTS_A_MINUTE: Final = 300
LINE_END_MS: Final = 59_500
"""Separates what a minute was generated with from what is added to it."""
TIME_PLACE: Final = b"yyyy-mm-ddThh:mm"
"""Placeholder for a minute's time, of the same length."""
NUMBER_PLACE: Final = b"qNNNNNNN"
"""Placeholder for a minute's number, in its request ids."""
MODULES: Final = (
    "auth",
    "billing",
    "cart",
    "db",
    "gateway",
    "index",
    "jobs",
    "kafka",
    "mailer",
    "orders",
    "queue",
    "search",
)
MESSAGES: Final = (
    "cache miss key=user:{a} ttl={b}",
    "query took {b} ms rows={a}",
    "user {a} logged in from 192.168.{c}.{c}",
    "payload {a} bytes written to segment {b}",
    "retrying after {b} ms attempt={c}",
    "peer answered ERROR {b}, asked again, attempt={c}",  # no error of this service's own
)
LEVELS: Final = ("INFO",) * 42 + ("DEBUG",) * 5 + ("WARN",) * 2 + ("ERROR",)


@dataclass(slots=True)
class Truth:
    """The true answers about a log, known from what was put into it."""

    bytes: int = 0
    lines: int = 0
    sha256: str = ""
    errors_by_hour: Counter[str] = field(default_factory=Counter)
    """By the hour's first 13 characters, `2026-03-01T00`."""
    gap: tuple[int, str, str] = (0, "", "")
    """The longest time without a line, in ms, with the times of the lines before and after it."""
    never_ended: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Minute:
    """One generated minute: its text with the two placeholders, and what it contains."""

    text: bytes
    lines: int
    errors: int
    first_ms: int
    last_ms: int
    longest_gap_ms: int


def write_log(path: Path, megabytes: int, seed: int = SEED) -> Truth:
    """Write a log of about `megabytes` MB of ASCII; returns what is true of it.

    One silence is longer than any other, and one request never ends; some take hours.
    """
    rng = random.Random(seed)  # noqa: S311 (a log, and no secret)
    made = [_made_minute(rng) for _ in range(MINUTES_MADE)]
    minutes = max(60, megabytes * MB // (sum(len(one.text) for one in made) // len(made)))
    silent = _silences(rng, minutes)
    lost_at = rng.choice([minute for minute in range(minutes // 5, minutes * 4 // 5) if minute not in silent])
    truth, digest = Truth(), hashlib.sha256()
    open_requests: list[str] = []
    last = ""
    with path.open("wb", buffering=0) as file:
        for minute in told(range(minutes), minutes, "minutes of the log", PAUSE_S):
            if minute in silent:
                continue
            one = rng.choice(made)
            time = (FIRST_MINUTE + timedelta(minutes=minute)).strftime("%Y-%m-%dT%H:%M")
            lines = _added(rng, minute, open_requests, is_last=minute == minutes - 1)
            if minute == lost_at:
                lost = f"q{minute:07}-9999"
                truth.never_ended.append(lost)
                lines.append(f"INFO  [{rng.choice(MODULES)}-1] request {lost} begun path=/api/v1/exports/{minute}")
            stamped = [f"{time}:{_ms(LINE_END_MS + at)} {line}\n" for at, line in enumerate(lines)]
            text = one.text.replace(TIME_PLACE, time.encode()).replace(NUMBER_PLACE, f"q{minute:07}".encode())
            block = text + "".join(stamped).encode()
            file.write(block)
            digest.update(block)
            truth.bytes += len(block)
            truth.lines += one.lines + len(lines)
            truth.errors_by_hour[time[:13]] += one.errors + sum(line.startswith("ERROR") for line in lines)
            first = f"{time}:{_ms(one.first_ms)}"
            if last:
                truth.gap = max(truth.gap, (_between_ms(last, first), last, first), key=lambda gap: gap[0])
            assert one.longest_gap_ms < 60_000
            last = stamped[-1][:23] if stamped else f"{time}:{_ms(one.last_ms)}"
    truth.sha256 = digest.hexdigest()
    return truth


def _silences(rng: random.Random, minutes: int) -> set[int]:
    """Minutes without a line: the longest silence, and a few shorter ones far apart."""
    lengths = [9, *(rng.randint(2, 7) for _ in range(5))]
    rng.shuffle(lengths)
    room = minutes // len(lengths)
    return {
        start + minute
        for part, length in enumerate(lengths)
        for start in [part * room + rng.randint(1, max(1, room - length - 2))]
        for minute in range(min(length, room - 2))
    }


def _added(rng: random.Random, minute: int, open_requests: list[str], *, is_last: bool) -> list[str]:
    """What is added to a minute: requests that begin here and end minutes later, and a few errors."""
    lines = []
    while open_requests and (is_last or rng.random() < 0.2):
        ended = open_requests.pop(rng.randrange(len(open_requests)))
        lines.append(f"WARN  [{rng.choice(MODULES)}-2] request {ended} ended status=200 late=yes")
    if rng.random() < 0.2 and not is_last:
        begun = f"q{minute:07}-9001"
        open_requests.append(begun)
        lines.append(f"INFO  [{rng.choice(MODULES)}-2] request {begun} begun path=/api/v1/reports/{minute}")
    lines += [f"ERROR [{rng.choice(MODULES)}-3] disk {at} is full" for at in range(rng.choice((0, 0, 0, 0, 0, 1, 3)))]
    rng.shuffle(lines)
    return lines


def _made_minute(rng: random.Random) -> _Minute:
    """A minute with its own lines and requests, each of which begins and ends in it."""
    place = NUMBER_PLACE.decode()
    lines: list[tuple[int, str]] = []
    for number in range(REQUESTS_A_MINUTE):
        begun, ended = sorted(rng.sample(range(LINE_END_MS), 2))
        who = f"[{rng.choice(MODULES)}-{rng.randint(1, 9)}] request {place}-{number:04}"
        peer = f"10.{rng.randint(0, 255)}.0.{rng.randint(0, 255)}"
        lines.append((begun, f"INFO  {who} begun path=/api/v1/items/{rng.randint(1, 10**6)} peer={peer}"))
        lines.append((ended, f"INFO  {who} ended status=200 ms={ended - begun}"))
    for _ in range(4 * REQUESTS_A_MINUTE):
        message = rng.choice(MESSAGES).format(a=rng.randint(1, 10**7), b=rng.randint(1, 9999), c=rng.randint(0, 255))
        level = rng.choice(LEVELS)
        lines.append((rng.randrange(LINE_END_MS), f"{level:5} [{rng.choice(MODULES)}-{rng.randint(1, 9)}] {message}"))
    lines.sort()
    times = [time for time, _ in lines]
    text = "".join(f"{TIME_PLACE.decode()}:{_ms(time)} {line}\n" for time, line in lines)
    return _Minute(
        text.encode(),
        len(lines),
        sum(line.startswith("ERROR") for _, line in lines),
        times[0],
        times[-1],
        max(after - before for before, after in pairwise(times)),
    )


def _ms(number: int) -> str:
    """Milliseconds of a minute as `SS.mmm`."""
    return f"{number // 1000:02}.{number % 1000:03}"


def _between_ms(before: str, after: str) -> int:
    return (datetime.fromisoformat(after) - datetime.fromisoformat(before)) // timedelta(milliseconds=1)
