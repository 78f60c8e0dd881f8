"""How a session that goes on is shown: each thing once, and nothing of a kernel's as a line of ours."""

from __future__ import annotations

import json
import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.commands.following.text_view import TextView
from rlm_kernel_mcp.session.trace.events import Texts
from rlm_kernel_mcp.session.watching.events import CODE_CHARS, Stream
from rlm_kernel_mcp.store.store import EventHead, EventRow
from rlm_kernel_mcp.text.safe_text import safe_text

SPOOF = "2026-01-01T00:00:00.000Z step 9 finalize (mcp): completed\x1b[2J\u202e\r\n```\nstep 9 begins:\n> x"


def shown() -> tuple[TextView, list[str]]:
    written: list[str] = []
    return TextView(written.append), written


def over(row_id: int, *, status: str = "ok", **texts: str) -> tuple[EventHead, Texts]:
    row = EventRow("s_1", "2026-01-01T00:00:00.000Z", 1, "run_repl", result_status=status, summary="x", id=row_id)
    columns = dict.fromkeys(("code", "error", "result", "stderr", "stdout")) | texts
    data = {name: None if text is None else text.encode() for name, text in columns.items()}
    return EventHead(row, 0), data


def test_a_step_is_shown_as_it_runs_and_its_end_does_not_repeat_it() -> None:
    view, written = shown()
    view.begin(7, 1, "for i in x:\n    print(i)", 24)
    view.output("stdout", 0, "one\ntw")
    view.output("stdout", 6, "o\n")
    view.output("stderr", 0, "oh")
    view.event(*over(7, code="for", stdout="one\ntwo\nthree\n", stderr="oh", result="42"))
    assert "".join(written).split("2026")[0] == (
        "step 1 begins:\n> for i in x:\n>     print(i)\n| one\n| two\n! oh\n| three\n"
    )
    end = "".join(written).split("\n2026")[1]
    assert "run_repl (mcp): ok" in end
    assert "42" in end
    assert "three" not in end


def test_at_a_terminal_each_line_of_ours_has_the_style_of_what_it_is_and_no_output_has_one() -> None:
    """A style is around a whole line, so that what was scrolled past stays as it was."""
    written: list[str] = []
    view = TextView(written.append, lambda text, style: f"<{style}>{text}</>")
    view.begin(7, 1, "x = 1\ny", 7)
    view.output("stdout", 0, "one\n")
    view.event(*over(7, code="x = 1", stdout="one\n", status="error"))
    view.event(*over(8, code="x"))
    view.line("limit reached")
    lines = "".join(written).splitlines()
    assert lines[:4] == ["<head>step 1 begins:</>", "<code>> x = 1</>", "<code>> y</>", "| one"]
    said = [line.partition(">")[0] for line in lines[4:] if line.startswith("<")]
    assert said == ["<bad", "<head", "<dim"]


def test_a_step_that_was_not_seen_running_is_shown_whole() -> None:
    view, written = shown()
    view.event(*over(7, code="print('one')", stdout="one\n"))
    assert "".join(written).count("one\n") == 1
    assert "print('one')" in "".join(written)


def test_a_step_that_is_told_of_twice_is_shown_once() -> None:
    """The host tells its output, and the row has it a second later."""
    view, written = shown()
    head, texts = over(7, status="running", code="x", stdout="one\ntwo\n")
    view.running(head, texts)
    view.begin(7, 1, "x", 1)
    view.output("stdout", 0, "one\ntwo\nthr")
    view.running(*over(7, status="running", code="x", stdout="one\n"))
    assert "".join(written) == "step 1 begins:\n> x\n| one\n| two\n| thr"


def test_what_was_left_out_is_counted() -> None:
    view, written = shown()
    view.begin(7, 1, "y" * (CODE_CHARS + 5), CODE_CHARS + 10)
    assert "[10 more characters of code]" in "".join(written)
    view.output("stdout", 0, "a")
    view.output("stdout", 1_001, "b\n")
    view.event(*over(7, code="y", stdout="a" * 1_001 + "b\n"))
    assert "| a\n[1,000 characters of stdout left out: they came too fast]\n| b\n2026" in "".join(written)


@given(st.lists(st.tuples(st.sampled_from(("stdout", "stderr")), st.text("ab\n\r\x1b\u202e\u200d", max_size=8))))
def test_every_line_of_a_kernel_s_has_its_mark_and_nothing_in_it_acts(pieces: list[tuple[Stream, str]]) -> None:
    view, written = shown()
    view.begin(7, 1, SPOOF, len(SPOOF))
    told = {"stdout": 0, "stderr": 0}
    for stream, piece in [*pieces, ("stdout", SPOOF)]:
        view.output(stream, told[stream], piece)
        told[stream] += len(piece)
    first, *lines = "".join(written).split("\n")
    assert first == "step 1 begins:"
    assert all(line[:2] in ("> ", "| ", "! ", "") for line in lines)
    assert safe_text("".join(written)) == "".join(written)


@given(st.text("ab\n\r", max_size=30), st.lists(st.integers(0, 30)))
def test_where_the_pieces_are_cut_does_not_show(text: str, cuts: list[int]) -> None:
    results = []
    for places in ([], sorted(cuts)):
        view, written = shown()
        view.begin(7, 1, "x", 1)
        bounds = [0, *(min(place, len(text)) for place in places), len(text)]
        for start, end in pairwise(bounds):
            view.output("stdout", start, text[start:end])
        view.event(*over(7, code="x", stdout=text))
        results.append("".join(written))
    assert results[0] == results[1]


def test_our_own_lines_hold_what_others_said_as_one_line() -> None:
    view, written = shown()
    view.line(f"the kernel has ended: {SPOOF}")
    (line,) = "".join(written).splitlines()
    assert line.startswith("the kernel has ended: 2026")
    assert not re.search("[\x1b\u202e\r]", line)


def test_an_error_stands_with_the_end() -> None:
    view, written = shown()
    view.begin(7, 1, "1/0", 3)
    error = json.dumps({"ename": "ZeroDivisionError", "evalue": "by zero", "traceback": "line 1"})
    view.event(*over(7, status="error", code="1/0", error=error))
    assert "ZeroDivisionError:\n```\nline 1\n```" in "".join(written)
