"""What a page gets of a kernel's messages: fields that are known, texts in which nothing acts, and pictures."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rlm_kernel_mcp.kernel.untrusted.relayed.bundles import TEXT_CHARS, bundle, safe
from rlm_kernel_mcp.kernel.untrusted.relayed.contents import HISTORY_MAX, MATCHES_MAX, relayed
from rlm_kernel_mcp.text.safe_text import safe_text
from tests.unit.kernel.untrusted.shown.drawn import base64_of, png

PNG: Final = base64_of(png())
MARKUP: Final = "<img src=x onerror=alert(1)>"
TYPES: Final = (
    "text/html", "text/markdown", "text/latex", "image/svg+xml", "application/javascript", "text/javascript",
    "application/json", "application/vnd.vega.v5+json", "application/vnd.jupyter.widget-view+json", "application/pdf",
    "image/gif", "application/geo+json", "text/vnd.mermaid", "TEXT/HTML", "text/plain; charset=html",
)  # fmt: skip
SENT: Final = (
    ("iopub", "status"), ("iopub", "stream"), ("iopub", "display_data"), ("iopub", "update_display_data"),
    ("iopub", "execute_result"), ("iopub", "error"), ("iopub", "execute_input"), ("iopub", "clear_output"),
    ("shell", "execute_reply"), ("shell", "complete_reply"), ("shell", "inspect_reply"),
    ("shell", "is_complete_reply"), ("shell", "history_reply"), ("stdin", "input_request"),
)  # fmt: skip


def sent(channel: str, kind: str, **content: Any) -> dict[str, Any]:
    """The content that a page gets, where it gets one."""
    made = relayed(channel, kind, content)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("channel", "kind"),
    [
        *(
            ("iopub", kind)
            for kind in ("comm_open", "comm_msg", "comm_close", "debug_event", "shutdown_reply", "pyout")
        ),
        *(("iopub", kind) for kind in ("iopub_welcome", "execute_reply", "input_request", "Status", "")),
        *(("shell", kind) for kind in ("display_data", "kernel_info_reply", "comm_info_reply", "usage_reply")),
        *(
            ("control", kind)
            for kind in ("interrupt_reply", "debug_reply", "shutdown_reply", "execute_reply", "status")
        ),
        *(("stdin", kind) for kind in ("display_data", "stream")),
        ("", "stream"),
    ],
)
def test_what_no_page_needs_reaches_none(channel: str, kind: str) -> None:
    """Comms draw and call, the debugger shows source, and a reply may come by its own channel alone."""
    assert relayed(channel, kind, {"execution_state": "idle", "data": {"text/html": MARKUP}, "text": "x"}) is None


@pytest.mark.parametrize("kind", ["display_data", "update_display_data", "execute_result"])
@pytest.mark.parametrize("mime_type", TYPES)
def test_of_a_display_text_and_pictures_remain(kind: str, mime_type: str) -> None:
    """Of what acts in some page nothing, whatever the metadata say; where nothing remains, its type is named."""
    data = {mime_type: MARKUP, "text/plain": "plain", "image/png": PNG}
    made = sent("iopub", kind, data=data, metadata={"isolated": True, "trusted": True}, execution_count=3)
    assert (made["data"], made["metadata"]) == ({"text/plain": "plain", "image/png": PNG}, {})
    alone = sent("iopub", kind, data={mime_type: MARKUP})["data"]
    assert set(alone) == {"text/plain"}
    assert MARKUP not in alone["text/plain"]
    assert "is not shown here" in alone["text/plain"]


def test_a_picture_is_one_or_is_nothing() -> None:
    """Of a type's name no page makes a picture: another format, text, or what is no base64."""
    for fake in ("PHN2Zz4=", MARKUP, "R0lGODlhAQABAAAAACw=", PNG[:-8], ["x"], 7):
        assert bundle({"image/png": fake, "text/plain": "x"}) == {"text/plain": "x"}
    assert bundle({"image/jpeg": PNG, "text/plain": "x"}) == {"text/plain": "x"}


def test_a_name_of_a_type_acts_as_little_as_its_text() -> None:
    """It is the kernel's word too."""
    shown = bundle({f"{MARKUP}\x1b[2J\u202e": 1})["text/plain"]
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(bundle({"x" * 10_000: 1})["text/plain"]) < 400


@given(st.text(st.characters(codec=None)))
@example("a line\r\n")
def test_no_text_has_a_character_that_acts(text: str) -> None:
    """In whatever field: controls, bidi and tags are visible."""
    shown = [
        sent("iopub", "stream", text=text + "."),
        sent("iopub", "error", ename=text, evalue=text, traceback=[text]),
        sent("iopub", "display_data", data={"text/plain": text}),
        sent("shell", "inspect_reply", found=True, data={"text/plain": text}),
        sent("stdin", "input_request", prompt=text),
        sent("iopub", "execute_input", code=text),
        sent("shell", "complete_reply", matches=[text]),
        sent("shell", "history_reply", history=[[1, 2, text], [1, 2, [text, text]]]),
    ]
    assert [one for one in texts(shown) if safe_text(one) != one] == []


def texts(value: object) -> list[str]:
    """Every text within."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts(inner)]
    return [value] if isinstance(value, str) else []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(
    ["execution_state", "name", "text", "data", "metadata", "transient", "ename", "evalue", "traceback", "status",
     "payload", "matches", "cursor_start", "cursor_end", "found", "indent", "history", "prompt", "password", "code",
     "wait", "execution_count"]
)  # fmt: skip


@given(st.sampled_from(SENT), st.dictionaries(fields, anything))
def test_whatever_a_kernel_puts_into_a_field_is_checked(where: tuple[str, str], content: dict[str, Any]) -> None:
    """Of a wrong type it is left out or empty: nothing is raised, and what is sent is JSON that any page reads."""
    made = relayed(*where, content)
    assert made is None or json.loads(json.dumps(made, allow_nan=False)) == made


def test_a_long_text_is_cut_and_says_so() -> None:
    shown = sent("iopub", "stream", text="x" * (3 * TEXT_CHARS))["text"]
    assert len(shown) <= TEXT_CHARS
    assert f"{3 * TEXT_CHARS:,} characters" in shown
    assert safe(["a", 1, "b"]) == "ab"
    assert safe(None) == ""


def test_a_state_is_one_that_a_kernel_may_be_in() -> None:
    """A restart or an end is the server's word."""
    for state in ("busy", "idle", "starting"):
        assert sent("iopub", "status", execution_state=state) == {"execution_state": state}
    for wrong in ("restarting", "dead", "autorestarting", MARKUP, ["idle"], None):
        assert relayed("iopub", "status", {"execution_state": wrong}) is None


def test_a_display_is_known_by_its_id_and_nothing_more() -> None:
    transient = {"display_id": "a", "target": MARKUP}
    assert sent("iopub", "display_data", data={}, transient=transient)["transient"] == {"display_id": "a"}
    nothing: tuple[Any, ...] = (["a"], {"a": 1}, "", None, 3)
    for wrong in nothing:
        assert sent("iopub", "display_data", data={}, transient={"display_id": wrong})["transient"] == {}


def test_a_reply_writes_no_cell_and_opens_nothing() -> None:
    """Of the payloads the text of a page remains; of expressions that nobody asked for, nothing."""
    payload = [
        {"source": "set_next_input", "text": "import os", "replace": True},
        {"source": "page", "data": {"text/html": MARKUP, "text/plain": "help"}, "start": 7},
        {"source": "edit_magic", "filename": "/etc/passwd"},
        {"source": "ask_exit"},
        "page",
    ]
    made = sent("shell", "execute_reply", status="ok", execution_count=2, payload=payload, user_expressions={"x": 1})
    assert made["payload"] == [{"source": "page", "data": {"text/plain": "help"}, "start": 0}]
    assert made["user_expressions"] == {}
    failed = sent(
        "shell", "execute_reply", status="error", ename="E", evalue="v", traceback=["a", "b"], payload=payload
    )
    assert failed == {"status": "error", "execution_count": 0, "ename": "E", "evalue": "v", "traceback": ["a", "b"]}
    assert sent("shell", "execute_reply", status="aborted") == {"status": "aborted", "execution_count": 0}
    assert sent("shell", "execute_reply", status=MARKUP)["status"] == "error"


def test_a_completion_is_one_short_line_without_markup() -> None:
    """Pages have put the list into the page as markup, and the one that is chosen goes into a person's cell."""
    wrong = [MARKUP, "a\nimport os", "a&b", "\u202eab", "", "x" * 500, 7, None]
    made = sent("shell", "complete_reply", matches=["re.sub", "größe", "%who", *wrong], cursor_start=5, cursor_end=3)
    assert (made["matches"], made["cursor_start"], made["cursor_end"]) == (["re.sub", "größe", "%who"], 5, 5)
    assert made["metadata"] == {}
    assert len(sent("shell", "complete_reply", matches=["a"] * 5_000)["matches"]) == MATCHES_MAX


def test_an_indent_is_blank() -> None:
    """A page writes it into the person's cell."""
    assert sent("shell", "is_complete_reply", status="incomplete", indent="    ")["indent"] == "    "
    wrongs: tuple[Any, ...] = ("import os", "\n\n", " " * 1_000, 4)
    for wrong in wrongs:
        assert sent("shell", "is_complete_reply", status="incomplete", indent=wrong)["indent"] == ""
    assert sent("shell", "is_complete_reply", status=MARKUP)["status"] == "unknown"


def test_a_history_has_at_most_so_many_cells() -> None:
    rows = [[1, number, "x"] for number in range(3 * HISTORY_MAX)]
    made = sent("shell", "history_reply", history=rows)["history"]
    assert made == rows[-HISTORY_MAX:]
    assert sent("shell", "history_reply", history=[[1, 2], "x", [MARKUP, None, ["a", "b", "c"]]])["history"] == [
        [0, 0, ["a", "b"]]
    ]
