"""What stops bombs stops nobody who works: in both tiers, under both import policies, at the smallest memory limit."""

from __future__ import annotations

import pytest

from tests.escape.bombs.machine import Machine

HONEST = {
    "classes": """
from dataclasses import dataclass, field
from enum import Enum
class Colour(Enum):
    RED = 1
class Base:
    made = []
    def __init_subclass__(cls):
        Base.made.append(cls.__name__)
@dataclass(order=True)
class Point(Base):
    x: int
    tags: list = field(default_factory=list)
assert sorted([Point(2), Point(1)])[0] == Point(1) and Base.made == ["Point"] and Colour(1) is Colour.RED
""",
    "generators and coroutines": """
import asyncio, itertools
def numbers():
    received = yield 1
    yield from range(received)
generator = numbers()
assert next(generator) == 1 and generator.send(3) == 0 and list(generator) == [1, 2]
async def later(value):
    await asyncio.sleep(0)
    return value
assert await asyncio.gather(later(1), later(2)) == [1, 2]
assert list(itertools.islice(itertools.accumulate(range(10)), 4)) == [0, 1, 3, 6]
""",
    "regular expressions": r"""
import re
text = "key: value\n" * 20_000
assert len(re.findall(r"^(\w+):\s+(?P<value>\w+)$", text, re.MULTILINE)) == 20_000
assert re.sub(r"(?<=k)e(?=y)", lambda found: found[0].upper(), "key") == "kEy"
""",
    "statistics": """
import math, random, statistics
from decimal import Decimal, getcontext
from fractions import Fraction
values = [random.Random(7).gauss(0, 1) for _ in range(2_000)]
assert abs(statistics.fmean(values)) < 10 and statistics.stdev([1, 2, 3]) == 1
assert Fraction(1, 3) + Fraction(1, 6) == Fraction(1, 2) and str(Decimal(1) / 7).startswith("0.142857")
assert math.isclose(statistics.NormalDist().cdf(0), 0.5)
""",
    "a large sort": """
import heapq, random
values = random.Random(1).sample(range(10**9), 200_000)
ordered = sorted(values, key=lambda value: -value)
assert ordered[0] == max(values) and heapq.nsmallest(3, values) == ordered[:-4:-1]
values = ordered = None
""",
    "threads that wait": """
import threading, time
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    assert list(pool.map(lambda value: time.sleep(0.001) or value * 2, range(20))) == list(range(0, 40, 2))
ready, seen = threading.Event(), []
thread = threading.Thread(target=lambda: (ready.wait(), seen.append(1)))
thread.start()
ready.set()
thread.join()
assert seen == [1]
assert threading.Lock().acquire(timeout=1)
""",
    "unicode": """
import unicodedata
text = "Grüße, 世界, \U0001f600, e\u0301"
assert unicodedata.normalize("NFC", text)[-1] == "é" and text.encode().decode() == text
größe = len(text)
assert größe == 16 and text.casefold().startswith("grüsse")
""",
    "recursion that ends": """
def depth(left):
    return 0 if left == 0 else 1 + depth(left - 1)
assert depth(500) == 500
try:
    depth(10_000)
except RecursionError:
    deep = "refused"
assert deep == "refused" and depth(500) == 500
""",
    "whole numbers": """
import math
assert math.factorial(2000) % 1009 == 0 and pow(3, 10**6, 97) == pow(3, 10**6 % 96, 97)
assert (2**4000).bit_length() == 4001
""",
    "times, json and csv": """
import csv, io, json
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo
noon = datetime(2026, 6, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
assert noon.utcoffset() == timedelta(hours=2)
rows = list(csv.DictReader(io.StringIO("a,b\\n1,2\\n")))
assert json.loads(json.dumps(rows)) == [{"a": "1", "b": "2"}]
""",
    "errors caught": """
try:
    try:
        {}["missing"]
    except KeyError as error:
        raise ValueError("wrapped") from error
except ValueError as error:
    cause = error.__cause__
assert isinstance(cause, KeyError)
""",
}
FILES = """
with open("notes.txt", "w") as file:
    file.writelines(f"{number}\\n" for number in range(1000))
with open("notes.txt") as file:
    assert sum(map(int, file)) == 499500
with open(f"{scratch}/notes.txt", "rb") as file:
    file.seek(-4, 2)
    assert file.read() == b"999\\n"
"""
PLACES = (
    "ns-allowlist",
    pytest.param("ns-any", marks=pytest.mark.slow),
    pytest.param("lock-allowlist", marks=pytest.mark.slow),
    "lock-any",
)


@pytest.mark.parametrize("machine", PLACES, indirect=True)
def test_honest_code_works_in_one_session(machine: Machine, session: str) -> None:
    """Step after step, each with what it says of itself; the kernel is the same from the first to the last."""
    for name, code in HONEST.items():
        report = machine.client.run(session, code)
        assert (report["status"], report["stderr"], report["lost"]) == ("ok", "", None), (name, report)
    if machine.tier == "ns":  # where it has no quota the scratch directory is read-only
        assert machine.client.run(session, FILES)["status"] == "ok"
    machine.still_has_its_value(session)
