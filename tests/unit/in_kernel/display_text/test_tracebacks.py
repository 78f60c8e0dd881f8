"""What a model is shown of an exception, and how little a hostile one can make of that."""

from __future__ import annotations

import linecache
import sys
from typing import Any, NoReturn

import pytest

from rlm_kernel_mcp.in_kernel.display_text.source_locations import STEPS_KEPT, StepCompiler
from rlm_kernel_mcp.in_kernel.display_text.tracebacks import TracebackLimits, format_exception


def failed(code: str, limits: TracebackLimits | None = None, name: str = "<ipython-input-3-0123456789ab>") -> list[str]:
    """The traceback lines of a step that raises."""
    linecache.cache[name] = (len(code), None, [line + "\n" for line in code.splitlines()], name)
    try:
        exec(compile(code, name, "exec"), {"__name__": "__main__"})
    except BaseException as error:  # noqa: BLE001  (whatever the step raises is the subject)
        below = error.__traceback__.tb_next if error.__traceback__ else None
        return format_exception(type(error), error, below, *([limits] if limits else []))[2]
    raise AssertionError("the step raised nothing")


def test_a_step_that_fails_shows_its_lines_and_where_in_them() -> None:
    """Ours: the line, and a marker where it is only a part of the line."""
    assert failed("def share(total, parts):\n    return total / parts + 1\nshare(1, 0)") == [
        "Traceback (most recent call last):",
        "  In[3], line 3, in <module>",
        "    share(1, 0)",
        "  In[3], line 2, in share",
        "    return total / parts + 1",
        "           ^^^^^^^^^^^^^",
        "ZeroDivisionError: division by zero",
    ]


def test_the_marker_stands_right_below_wide_and_accented_text() -> None:
    """Source: CPython's columns are bytes of UTF-8."""
    lines = failed("é, x = 'ü', {}\nprint('é' + é, x['ü'])")
    assert lines[-3:-1] == ["    print('é' + é, x['ü'])", "                   ^^^^^^"]


def test_a_syntax_error_shows_its_line_and_place() -> None:
    """Ours: without the name of a file that nobody can open."""
    with pytest.raises(SyntaxError) as caught:
        compile("x = 1\nif x = 2: pass", "<ipython-input-4-0123456789ab>", "exec")
    ename, evalue, lines = format_exception(SyntaxError, caught.value, None)
    assert (ename, evalue) == ("SyntaxError", "invalid syntax. Maybe you meant '==' or ':=' instead of '='? (line 2)")
    assert lines == ["  In[4], line 2", "    if x = 2: pass", "       ^", f"SyntaxError: {evalue}"]


def test_causes_and_contexts_come_first() -> None:
    """Source: Python's own order."""
    lines = failed("try:\n    {}['k']\nexcept KeyError as error:\n    raise ValueError('no') from error")
    assert lines.index("KeyError: 'k'") < lines.index("ValueError: no")
    assert "The above exception was the direct cause of the following exception:" in lines
    lines = failed("try:\n    {}['k']\nexcept KeyError:\n    1 / 0")
    assert "During handling of the above exception, another exception occurred:" in lines
    assert "KeyError: 'k'" not in failed("try:\n    {}['k']\nexcept KeyError:\n    raise ValueError from None")


def test_a_chain_of_thousands_is_cut_to_its_latest() -> None:
    """Ours: five causes and the exception itself."""
    lines = failed(
        "error = None\nfor n in range(5_000):\n"
        "    new = ValueError(n)\n    new.__cause__ = error\n    error = new\nraise error"
    )
    assert [line for line in lines if line.startswith("ValueError")] == [
        f"ValueError: {n}" for n in range(4_994, 5_000)
    ]
    assert lines[0] == "[earlier exceptions of this chain are left out]"


def test_a_chain_that_closes_on_itself_ends() -> None:
    """Ours: a cycle is walked once."""
    lines = failed("a, b = ValueError('a'), ValueError('b')\na.__cause__, b.__cause__ = b, a\nraise a")
    assert [line for line in lines if line.startswith("ValueError")] == ["ValueError: b", "ValueError: a"]


def test_notes_and_the_members_of_a_group_are_shown() -> None:
    """Ours: a group of many shows the first ten."""
    lines = failed(
        "error = ExceptionGroup('many', [ValueError(n) for n in range(12)])\nerror.add_note('look here')\nraise error"
    )
    assert "ExceptionGroup: many (12 sub-exceptions)" in lines
    assert "look here" in lines
    assert [line for line in lines if line.startswith("  ValueError")] == [f"  ValueError: {n}" for n in range(10)]
    assert lines[-1] == "  [2 more exceptions of the group are left out]"


def test_groups_within_groups_end_at_a_depth() -> None:
    """Ours: a thousand of them are not a thousand levels of text."""
    lines = failed("e = ValueError()\nfor _ in range(1_000): e = ExceptionGroup('g', [e])\nraise e")
    assert lines[-1].strip() == "[a group of 1 exceptions within 3 others is not shown]"
    assert len(lines) < 20


def test_a_recursion_is_counted_and_not_listed() -> None:
    """Ours: a thousand equal frames are one line."""
    lines = failed("def f(n): return f(n + 1)\nf(0)")
    counted = [line for line in lines if "repeated" in line]
    assert len(counted) == 1
    assert len(lines) < 12
    assert int(counted[0].split()[5].replace(",", "")) > 500


def test_a_long_way_of_different_frames_keeps_its_ends() -> None:
    """Ours: half from the outermost, half from the innermost; the number left out is exact."""
    code = "\n".join(f"def f{n}(): f{n + 1}()" for n in range(100)) + "\ndef f100(): 1 / 0\nf0()"
    lines = failed(code, TracebackLimits(frames=10))
    names = [line.rpartition(", in ")[2] for line in lines if ", in " in line]
    assert names == ["<module>", "f0", "f1", "f2", "f3", "f96", "f97", "f98", "f99", "f100"]
    assert "  [92 frames are left out here]" in lines


def test_library_frames_are_named_by_their_place_and_no_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours: neither the machine's paths nor the lines of a file that code claims to come from."""
    monkeypatch.setattr(linecache, "updatecache", never)
    lines = failed("import json\njson.loads('{')")
    assert [line.strip() for line in lines if ", in " in line][1].startswith("json/__init__.py, line ")
    with open(__file__, encoding="utf-8") as own:  # noqa: PTH123
        first = own.readline().strip()
    linecache.cache.pop(__file__, None)
    assert first not in "\n".join(failed_under_a_name("1 / 0", __file__))


def failed_under_a_name(code: str, filename: str) -> list[str]:
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile(code, filename, "exec"), {})
    return format_exception(ZeroDivisionError, caught.value, caught.tb)[2]


def never(*args: object) -> NoReturn:
    raise AssertionError(f"a file was read: {args}")


def test_frames_of_the_machinery_are_not_shown() -> None:
    """Ours: the step called a function of ours; that one is not news for the model."""
    lines = failed("from rlm_kernel_mcp.in_kernel.namespace.documents import Documents\nDocuments('', [])['a']")
    assert [line for line in lines if ", in " in line] == ["  In[3], line 2, in <module>"]


class Hostile(Exception):
    """Whose parts raise when they are asked for."""

    def __str__(self) -> str:
        raise ValueError("never")

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"asked for {name}")

    __repr__ = __str__


def test_an_exception_that_raises_when_it_is_asked_for_its_text_is_still_named() -> None:
    """Ours: its own code is run for its text alone."""
    assert format_exception(Hostile, Hostile(), None) == (
        "Hostile",
        "<its __str__ raised ValueError>",
        ["tests.unit.in_kernel.display_text.test_tracebacks.Hostile: <its __str__ raised ValueError>"],
    )


def test_a_giant_message_is_cut_and_the_cut_is_said() -> None:
    """Ours: 10,000 characters of it by itself, 2,000 within the traceback."""
    error = ValueError("x" * 100_000_000)
    _, evalue, lines = format_exception(ValueError, error, None)
    assert evalue == "x" * 10_000 + "… [cut: 10,000 of 100,000,000 characters]"
    assert lines == ["ValueError: " + "x" * 2_000 + "… [cut: 2,000 of 100,000,000 characters]"]


def test_the_whole_text_has_a_last_line() -> None:
    """Ours: whatever the limits of its parts come to together."""
    error = ExceptionGroup("g", [ExceptionGroup("h", [ValueError(n) for n in range(9)]) for _ in range(9)])
    lines = format_exception(ExceptionGroup, error, None, TracebackLimits(lines=20))[2]
    assert lines[-2:] == ["[cut after 20 lines]", "ExceptionGroup: g (9 sub-exceptions)"]


def test_fifty_thousand_frames_are_formatted_without_their_sources() -> None:
    """Source: res-out-traceback; IPython's own formatter took 52 seconds for these."""
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(10_000)
        assert len(failed("def f(n):\n    if n: f(n - 1)\n    else: 1 / 0\nf(5_000)")) < 20
    finally:
        sys.setrecursionlimit(limit)


def test_only_the_latest_steps_keep_their_lines() -> None:
    """Ours: a hundred thousand tiny steps must not grow the kernel."""
    compiler = StepCompiler()
    names = [compiler.cache(f"step = {number}", number) for number in range(STEPS_KEPT + 5)]
    assert names[7].startswith("<ipython-input-7-")
    assert [name in linecache.cache for name in (names[4], names[5], names[-1])] == [False, True, True]
    for name in names:
        linecache.cache.pop(name, None)
