"""What a session keeps from step to step, and what a step reports of itself."""

from __future__ import annotations

import re

import pytest

from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio


async def test_everything_a_step_makes_is_there_in_the_next(shared: SessionDriver) -> None:
    """Variables, functions, classes, imports, compiled patterns and generators that were begun."""
    await shared.ok(
        "import re, statistics\n"
        "from collections import Counter\n"
        "numbers = [1, 2, 3]\n"
        "pattern = re.compile('a.')\n"
        "def twice(x): return 2 * x\n"
        "class Box:\n"
        "    def __init__(self, held): self.held = held\n"
        "def count():\n"
        "    for n in range(10): yield n\n"
        "begun = count(); next(begun)\n"
    )
    report = await shared.ok(
        "box = Box(twice(numbers[-1]))\n"
        "(box.held, pattern.findall(context), next(begun), statistics.mean(numbers), Counter('aab')['a'])"
    )
    assert report.result == "(6, ['al', 'am'], 1, 2, 2)"


async def test_only_the_last_expression_is_shown(shared: SessionDriver) -> None:
    """An expression in the middle, an assignment at the end and a semicolon show nothing."""
    assert (await shared.ok("1 + 1\n2 + 2")).result == "4"
    assert (await shared.ok("1 + 1\nlast = 3")).result is None
    assert (await shared.ok("1 + 1;")).result is None
    assert (await shared.ok("None")).result is None


async def test_await_works_at_the_top_level(shared: SessionDriver) -> None:
    """As in IPython; what is made in it stays."""
    report = await shared.ok("import asyncio\nawaited = await asyncio.sleep(0, 'slept')\nawaited")
    assert report.result == "'slept'"
    assert (await shared.ok("awaited")).result == "'slept'"


async def test_an_exception_is_data_and_the_session_goes_on(shared: SessionDriver) -> None:
    """What was bound before it stays, and the next step runs."""
    report = await shared.run("before = 1\nprint('said')\n1 / 0\nafter = 2")
    assert report.status == "error"
    assert report.error is not None
    assert (report.error.ename, report.error.evalue) == ("ZeroDivisionError", "division by zero")
    assert "1 / 0" in report.error.traceback
    assert report.stdout == "said\n"
    assert [variable.name for variable in report.updated_vars_summary] == ["before"]
    assert (await shared.ok("before")).result == "1"


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("def f(:", "SyntaxError"),
        ("if 1:\nx = 1", "IndentationError"),
        ("'\\", "SyntaxError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise SystemExit(3)", "SystemExit"),
        ("class E(BaseException): pass\nraise E('own')", "E"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("raise ExceptionGroup('two', [ValueError(1), TypeError(2)])", "ExceptionGroup"),
        ("import asyncio\nraise asyncio.CancelledError", "CancelledError"),
        ("x = 1\0", "SyntaxError"),
        ("(" * 300 + ")" * 300, "SyntaxError"),
    ],
)
async def test_whatever_code_raises_is_reported_by_its_name(shared: SessionDriver, code: str, ename: str) -> None:
    """No exception of the code ends the kernel, or the step without a word."""
    report = await shared.run(code)
    assert report.status == "error"
    assert report.error is not None
    assert report.error.ename == ename
    assert (await shared.ok("40 + 2")).result == "42"


async def test_the_names_that_a_step_binds_are_told_with_type_and_size(shared: SessionDriver) -> None:
    """Rebinding to the same value counts; names that were only read do not."""
    await shared.ok("kept = [1, 2]\nother = 'x' * 10")
    report = await shared.ok("kept = kept\nfresh = {'a': 1}\nlen(other)")
    told = {variable.name: (variable.type, variable.size) for variable in report.updated_vars_summary}
    assert told == {"kept": ("list", 2), "fresh": ("dict", 1)}


async def test_stdout_stderr_and_result_are_told_apart(shared: SessionDriver) -> None:
    """Each in its own field, in the order in which it was written."""
    report = await shared.ok("import warnings\nprint('one')\nwarnings.warn('careful')\nprint('two')\n'three'")
    assert report.stdout == "one\ntwo\n"
    assert "careful" in report.stderr
    assert report.result == "'three'"


async def test_a_flood_of_output_keeps_head_and_tail_and_the_exact_count(shared: SessionDriver) -> None:
    """100 MB are printed; what was dropped is counted to the character."""
    report = await shared.ok("for n in range(100_000): print(f'{n:09d}' + 'x' * 990)", max_output_chars=200_000)
    shown, whole = report.stdout, 100_000 * 1_000
    assert shown.startswith("000000000xxx")
    assert shown.endswith(f"{99_999:09d}" + "x" * 990 + "\n")
    assert report.note is not None
    (dropped,) = re.findall(r"stdout: ([\d,]+) characters were dropped", report.note)
    (event,) = [event for event in await shared.trace() if event.step_index == report.step_index]
    assert event.stdout is not None
    head, said, tail = re.split(r"\n\[([\d,]+) characters of stdout were dropped here;.*\]\n", event.stdout)
    assert said == dropped
    assert len(head) + int(dropped.replace(",", "")) + len(tail) == whole


async def test_the_context_is_what_was_given(shared: SessionDriver) -> None:
    """Not stripped, not normalised."""
    assert (await shared.ok("context")).result == repr("alpha\nbeta\ngamma\n")
