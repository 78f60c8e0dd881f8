"""What a client reads is what is there: values, answers, contexts and traces to the character, and every cut told."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.mcp.line_client import LineClient


@pytest.fixture(scope="module")
def client(workers_client: LineClient) -> LineClient:
    """The worker's server."""
    return workers_client


@pytest.fixture(scope="module")
def session_id(client: LineClient) -> str:
    """A session for steps that do not disturb each other."""
    return client.open_session("exact", max_steps=1_000, budget_limit=10_000_000, max_runtime_ms=3_600_000)


def pages_of(client: LineClient, session_id: str, name: str, limit: int) -> str:
    """A variable's text, put together from its pages."""
    whole = ""
    offset: int | None = 0
    while offset is not None:
        data = client.data("rlm_get_var", session_id=session_id, var_name=name, offset=offset, limit=limit)
        assert data["text"] is True
        assert data["offset"] == offset
        assert len(data["value"]) <= limit
        whole += data["value"]
        assert data["next_offset"] is None or data["next_offset"] > offset
        offset = data["next_offset"]
    return whole


def trace_of(client: LineClient, session_id: str, step: int, size: int) -> dict[str, Any]:
    """One step's event with its texts in full, put together from pages of `size` characters."""
    event: dict[str, Any] = {}
    offset: int | None = 0
    while offset is not None:
        bounds = {"from_step": step, "to_step": step, "detail": "full", "max_output_chars": size, "offset": offset}
        page = client.data("rlm_get_trace", session_id=session_id, **bounds)
        (part,) = page["events"]
        error = part["error"] or {"evalue": "", "traceback": ""}
        texts = {name: part[name] or "" for name in ("code", "stdout", "stderr", "result")}
        texts |= {name: error[name] for name in ("evalue", "traceback")}
        assert sum(map(len, texts.values())) <= size
        event = {name: event.get(name, "") + text for name, text in texts.items()}
        offset = page["next_offset"]
    return event


@pytest.mark.parametrize(
    "text", ["line\n" * 790, '"' * 3_999, "\t\\" * 2_000, "a\r\nb\r\n" * 500, "\u26a0\ufe0f é 日本 🎉 e\u0301"]
)
def test_a_text_within_the_limit_comes_whole_whatever_it_holds(client: LineClient, session_id: str, text: str) -> None:
    """Its JSON form, which has an escape for each line end and quote, may be longer than the limit."""
    client.run(session_id, f"text = {text!r}")
    data = client.data("rlm_get_var", session_id=session_id, var_name="text")
    assert (data["value"], data["text"]) == (text, False)
    assert (data["total_chars"], data["next_offset"], data["truncated"]) == (len(text), None, False)


@pytest.mark.parametrize("limit", [pytest.param(2, marks=pytest.mark.slow), 7, 100])
def test_pages_put_together_are_the_whole_where_line_ends_and_emoji_fall_on_their_edges(
    client: LineClient, session_id: str, limit: int
) -> None:
    """A part of such a pair alone would be shown as an escape."""
    text = "a\r\nbc\r\n\u26a0\ufe0f\u2764\ufe0f\r\n" * 40
    client.run(session_id, f"edges = {text!r}")
    assert pages_of(client, session_id, "edges", limit) == text


def test_a_page_too_small_for_an_escape_still_leads_on(client: LineClient, session_id: str) -> None:
    """It has U+FFFD in its place; the end is told only at the end."""
    client.run(session_id, r"escapes = 'a\x1bb\u202ec'")
    assert pages_of(client, session_id, "escapes", 1) == "a\ufffdb\ufffdc"
    assert pages_of(client, session_id, "escapes", 6) == "a\\x1bb\\u202ec"


def test_the_whole_length_is_told_from_any_place(client: LineClient, session_id: str) -> None:
    """Past the end too."""
    client.run(session_id, "ten = '0123456789'")
    for offset in (1, 10, 11, 10**9):
        data = client.data("rlm_get_var", session_id=session_id, var_name="ten", offset=offset)
        assert (data["total_chars"], data["next_offset"]) == (10, None)
        assert data["value"] == "0123456789"[offset:]


def test_a_list_at_the_edge_of_the_limit_is_whole_or_paged_but_never_cut(client: LineClient, session_id: str) -> None:
    """`limit` counts the characters of its JSON text."""
    value = [1, "two", {"three": None}]
    client.run(session_id, f"edge = {value!r}")
    length = len(json.dumps(value))
    data = client.data("rlm_get_var", session_id=session_id, var_name="edge", limit=length)
    assert (data["value"], data["text"]) == (value, False)
    assert pages_of(client, session_id, "edge", length - 1) == json.dumps(value)


@pytest.mark.parametrize("code", ["Counter('aab')", "defaultdict(int, a=2, b=1)", "OrderedDict(a=2, b=1)"])
def test_the_dicts_of_collections_come_as_json(client: LineClient, session_id: str, code: str) -> None:
    """They are what an analysis ends in."""
    client.run(session_id, f"from collections import *\ncounts = {code}")
    data = client.data("rlm_get_var", session_id=session_id, var_name="counts")
    assert (data["value"], data["text"]) == ({"a": 2, "b": 1}, False)
    assert data["type"] == code.partition("(")[0]


@pytest.mark.parametrize("text", ["short", "a\r\nb\n\n", "\r\n" * 300, "x" * 400, "x" * 400 + "y" * 500])
def test_head_and_tail_are_the_text_s_own_beginning_and_end(client: LineClient, text: str) -> None:
    """No text twice: of a short one the head is all of it."""
    context = client.data("rlm_init_context", context_text=text)["context"]
    assert context["head"] == text[:400]
    assert context["tail"] == text[400:][-400:]


@pytest.mark.parametrize(("size", "said"), [(30, False), (300, False), (1_000, True)])
def test_a_cut_in_little_room_keeps_head_and_tail_and_says_where_the_rest_is(
    client: LineClient, session_id: str, size: int, said: bool
) -> None:
    """In the text where there is room for it, else in `note`."""
    code = "import warnings\nprint('H' + 'x' * 5_000)\nwarnings.warn('x' * 5_000 + 'T')\n'R' * 5_000"
    data = client.run(session_id, code, max_output_chars=size)
    texts = [data["stdout"], data["stderr"], data["result"]]
    assert sum(map(len, texts)) <= size
    assert texts[0].startswith("H")
    assert texts[2].endswith("R'")
    index = data["step_index"]
    call = f'rlm_get_trace(from_step={index}, to_step={index}, detail="full")'
    assert all((call in text) is said for text in texts)
    assert said or (call in data["note"] and f"{data['truncated']['stdout']:,} characters of stdout" in data["note"])


@pytest.mark.parametrize("size", [1, 10, 50, 500, 8_000])
def test_an_exception_s_texts_stay_within_the_size_and_say_what_was_cut(
    client: LineClient, session_id: str, size: int
) -> None:
    """Name, message and traceback count; the trace has all of them."""
    data = client.run(session_id, "print('o' * 3_000)\nraise ValueError('H' + 'v' * 3_000)", max_output_chars=size)
    error = data["error"]
    assert len(data["stdout"]) + sum(map(len, error.values())) <= size
    assert len(error["evalue"]) < 3_001
    assert "rlm_get_trace" in (error["evalue"] if size > 500 else data["note"])
    full = trace_of(client, session_id, data["step_index"], 200_000)
    assert full["evalue"] == "H" + "v" * 3_000


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.slow), 50, 700])
def test_pages_of_the_trace_are_no_larger_than_asked_and_put_together_are_the_whole(
    client: LineClient, session_id: str, size: int
) -> None:
    """Whatever the texts are: an exception's long message is paged as well."""
    text = "a\r\nb" * 20
    index = client.run(session_id, f"print({text!r})\nraise ValueError('v' * 300)")["step_index"]
    event = trace_of(client, session_id, index, size)
    assert event["code"] == f"print({text!r})\nraise ValueError('v' * 300)"
    assert event["evalue"] == "v" * 300
    assert event["traceback"].endswith("v" * 300)
    assert event["stdout"] == text + "\n"


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("[1, 'two', None]", '[1, "two", null]'),
        ("{'a': [True]}", '{"a": [true]}'),
        ("' a\\r\\n\\u26a0\\ufe0f '", " a\r\n\u26a0\ufe0f "),
        ("''", ""),
        ("{3, 1}", "{1, 3}"),
    ],
)
def test_a_final_answer_is_the_variable_s_whole_text(client: LineClient, code: str, answer: str) -> None:
    """JSON with spaces, as people write it; a text is kept as it is."""
    session_id = client.open_session()
    client.run(session_id, f"answer = {code}")
    data = client.data("rlm_finalize", session_id=session_id, final_var_name="answer")
    assert (data["final_answer"], data["final_answer_chars"]) == (answer, len(answer))


@pytest.mark.parametrize("code", ["'y' * 64_000_001", "list(range(1_000_000))"])
def test_an_answer_that_cannot_be_kept_whole_is_refused_and_the_session_stays(client: LineClient, code: str) -> None:
    """A part of it must not pass for the answer."""
    session_id = client.open_session()
    client.run(session_id, f"answer = {code}")
    error = client.error("rlm_finalize", session_id=session_id, final_var_name="answer")
    assert error["code"] == "INVALID_INPUT"
    assert "answer" in error["message"]
    assert client.run(session_id, "len(answer) > 0")["result"] == "True"


@pytest.mark.parametrize(
    "code",
    [
        "class A:\n    def __repr__(self): return 'mine'\nanswer = A()",
        "class A:\n    def __repr__(self): raise AttributeError\nanswer = [1, {'a': A()}]",
        "class A:\n    def __str__(self):\n        while True: pass\nanswer = (A(),)",
        "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int = 1\nanswer = A()",
    ],
)
def test_an_object_is_no_answer_and_the_way_to_its_text_is_said(client: LineClient, code: str) -> None:
    """A Series of pandas was `Series(_mgr=SingleBlockManager(...` for good; none of its code runs for this either."""
    session_id = client.open_session()
    client.run(session_id, code)
    error = client.error("rlm_finalize", session_id=session_id, final_var_name="answer")
    assert error["code"] == "INVALID_INPUT"
    assert "answer = str(answer)" in error["next_step"]
    client.run(session_id, "answer = 'its text'")
    assert client.data("rlm_finalize", session_id=session_id, final_var_name="answer")["final_answer"] == "its text"


@pytest.mark.parametrize("code", ["answer = documents", "answer = ...", "answer = NotImplemented"])
def test_the_table_of_documents_and_a_mark_are_no_answers(client: LineClient, code: str) -> None:
    """`<Documents: 1 document: 'context'>` was the final answer, and the session was over."""
    session_id = client.open_session()
    client.run(session_id, code)
    error = client.error("rlm_finalize", session_id=session_id, final_var_name="answer")
    assert error["code"] == "INVALID_INPUT"
    assert "no final answer was taken" in error["message"]
    assert client.run(session_id, "1")["status"] == "ok"


def test_a_final_text_that_is_too_long_is_refused_and_one_at_the_limit_is_kept_once(client: LineClient) -> None:
    """9,000,000 characters were accepted, and stored three times."""
    session_id = client.open_session()
    error = client.error("rlm_finalize", session_id=session_id, final_text="x" * 4_000_001)
    assert error["code"] == "INVALID_INPUT"
    assert "4,000,001" in error["message"]
    assert "4,000,000" in error["message"]
    text = "".join(chr(97 + i % 26) for i in range(100)) * 40_000
    for _ in range(2):
        assert client.data("rlm_finalize", session_id=session_id, final_text=text)["final_answer_chars"] == 4_000_000
    store = sqlite3.connect(Path(client.env["RLM_STATE_DIR"]) / "sessions.db")
    kept = "SELECT length(final_answer), coalesce(length(extra), 0) < 200 FROM sessions WHERE session_id = ?"
    assert store.execute(kept, (session_id,)).fetchall() == [(4_000_000, 1)]
    events = "SELECT coalesce(length(result), 0) FROM events WHERE session_id = ?"
    assert set(store.execute(events, (session_id,)).fetchall()) == {(0,)}
    store.close()
    other = client.error("rlm_finalize", session_id=session_id, final_text=text[:-1])
    assert other["code"] == "SESSION_FINALIZED"


def test_an_answer_longer_than_any_response_is_read_from_the_trace(client: LineClient) -> None:
    """Nothing that was cut is lost."""
    session_id = client.open_session()
    client.run(session_id, "answer = ''.join(chr(97 + i % 26) for i in range(300_000))")
    data = client.data("rlm_finalize", session_id=session_id, final_var_name="answer", max_output_chars=200_000)
    assert data["final_answer_chars"] == 300_000
    assert "rlm_get_trace" in re.findall(r"\[\.\.\..*\.\.\.\]", data["final_answer"])[0]
    whole = ""
    offset: int | None = 0
    while offset is not None:
        page = client.data(
            "rlm_get_trace", session_id=session_id, detail="full", max_output_chars=200_000, offset=offset
        )
        whole += "".join(event["result"] or "" for event in page["events"] if event["action"] == "finalize")
        offset = page["next_offset"]
    assert whole == "".join(chr(97 + i % 26) for i in range(300_000))


def test_an_answer_longer_than_any_message_is_taken_from_a_variable_and_read_from_the_trace(client: LineClient) -> None:
    """A variable with more than 4,000,000 characters was refused, though a text was put together for it."""
    session_id = client.open_session()
    client.run(session_id, "answer = ''.join(f'{n}: é\\n' for n in range(450_000))")
    wanted = "".join(f"{n}: é\n" for n in range(450_000))
    data = client.data("rlm_finalize", session_id=session_id, final_var_name="answer", max_output_chars=1_000)
    assert data["final_answer_chars"] == len(wanted) > 4_000_000
    cut = re.findall(r"\[\.\.\. ([\d,]+) of ([\d,]+) characters cut here; (.*) \.\.\.\]", data["final_answer"])
    assert cut[0][1] == f"{len(wanted):,}"
    assert cut[0][2] == 'rlm_get_trace(from_step=1, detail="full") gets all of it, page by page'
    assert (len(data["final_answer"]) <= 1_000, data["final_answer"][:6]) == (True, wanted[:6])
    assert data["final_answer"].endswith(wanted[-100:])
    parts = list[str]()
    offset: int | None = 0
    while offset is not None:
        page = client.data(
            "rlm_get_trace", session_id=session_id, detail="full", max_output_chars=200_000, offset=offset
        )
        parts += [event["result"] or "" for event in page["events"] if event["action"] == "finalize"]
        offset = page["next_offset"]
    assert "".join(parts) == wanted
    again = client.data("rlm_finalize", session_id=session_id, final_var_name="answer", max_output_chars=1_000)
    assert again == data
    error = client.error("rlm_finalize", session_id=session_id, final_text="another")
    assert error["code"] == "SESSION_FINALIZED"
