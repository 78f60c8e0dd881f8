"""The page that clients of MCP Apps show of a trace, in a sandboxed frame in headless Chromium: it draws, no more.

Its client is a page of ours that speaks the client's part of the extension (`framed.py`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.server import responses
from rlm_kernel_mcp.server.offered import session_view
from tests.escape.cases import read_corpus
from tests.lab.apps.framed import HOST, Shown, show
from tests.lab.chromium import Chromium, started
from tests.parts import chromium
from tests.sessions import AMPLE, WAIT_S, SessionDriver, open_registry
from tests.watching.test_page_words import NAMED, STAYS

pytestmark = pytest.mark.slow
MARKUP: Final = (
    "<script>alert('script')</script><img src=http://evil.example/a.png onerror=\"alert('image')\">"
    "<svg onload=\"alert('svg')\"></svg><iframe src=http://evil.example/frame></iframe>"
    "<style>@import url(http://evil.example/b.css)</style></script><script>alert('end')</script>"
)
STEPS: Final = (
    f"print({MARKUP!r})",
    f"# {MARKUP}\n{MARKUP!r}",
    f"raise ValueError({MARKUP!r})",
    f"import sys; print({MARKUP!r} * 3, file=sys.stderr)",
)
DRAWN: Final = {"main", "h1", "h2", "h3", "p", "ol", "li", "pre", "button"}
"""All elements that the page makes, whatever it is given."""
MAY_CALL: Final = {**HOST, "hostCapabilities": {"serverTools": {}}, "hostContext": {"theme": "dark"}}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One for all pages."""
    with started(chromium(), tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture(scope="module")
async def results(tmp_path_factory: pytest.TempPathFactory, anyio_backend: object) -> Mapping[str, dict[str, Any]]:
    """What `rlm_get_trace` answers of a session in which everything that can have markup has it, in each form.

    `anyio_backend`: named, since the tests themselves have no loop.
    """
    del anyio_backend
    cases = [case for case in read_corpus() if case.category == "output"]
    async with open_registry(tmp_path_factory.mktemp("state")) as registry:
        async with asyncio.timeout(WAIT_S):
            opened = await registry.init_context(context_text=MARKUP, context_paths=None, limits=AMPLE)
        session = SessionDriver(registry, opened.session_id)
        for code in (*STEPS, *(step for case in cases for step in case.filled({"CANARY_PORT": "9"}))):
            await session.run(code)
        await session.finalize(text=MARKUP)
        wanted: dict[str, Any] = {"from_step": None, "to_step": None, "max_output_chars": 60_000, "offset": 0}
        async with asyncio.timeout(WAIT_S):
            full = await registry.get_trace(opened.session_id, detail="full", **wanted)
            short = await registry.get_trace(opened.session_id, detail="summary", **wanted)
    shown = {"json": responses.trace(full, "json", "full"), "markdown": responses.trace(full, "markdown", "full")}
    shown["summary"] = responses.trace(short, "json", "summary")
    return {form: one.model_dump(mode="json", by_alias=True, exclude_none=True) for form, one in shown.items()}


def shown(browser: Chromium, place: Path, *results: dict[str, Any], **given: Any) -> Shown:
    posts = [
        {"method": "ui/notifications/tool-input", "params": {"arguments": {"session_id": f"s_1 {MARKUP}"}}},
        *({"method": "ui/notifications/tool-result", "params": result} for result in results),
    ]
    return show(browser, place / "client.html", session_view.contents().text, posts, **given)


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_every_text_of_a_hostile_session_is_drawn_as_text_and_nothing_of_it_acts(
    browser: Chromium, tmp_path: Path, results: Mapping[str, dict[str, Any]], form: str
) -> None:
    """Whichever form of the answer the client posts: no element is made of it, nothing is asked for, nothing runs."""
    found = shown(browser, tmp_path, results[form], host=MAY_CALL)
    assert (found.dialogs, found.requested, set(found.tags) <= DRAWN) == ((), (), True)
    assert found.is_within
    assert found.text.count(MARKUP) >= 3 + len(STEPS)  # DevTools tells 10,000 characters of a text
    assert f"Session s_1 {MARKUP}" in found.text
    for odd in ("\x1b", "\u202e", "\u200e", "\x00", "\x07"):
        assert odd not in found.text


def test_a_further_result_takes_the_place_of_the_first_and_has_each_event_once(
    browser: Chromium, tmp_path: Path, results: Mapping[str, dict[str, Any]]
) -> None:
    events = results["summary"]["structuredContent"]["data"]["events"]
    found = shown(browser, tmp_path, results["json"], results["summary"])
    assert found.tags.count("li") == len(events)
    steps = [event for event in events if event["action"] == "run_repl"]
    assert len(steps) > len(STEPS)
    for event in steps:
        assert f"Step {event['step_index']:,}" in found.text
    assert "Final answer · completed" in found.text
    assert "of 10,000 · run time" in found.text


def test_a_person_goes_on_to_the_next_page_where_the_client_lets_the_page_call_tools(
    browser: Chromium, tmp_path: Path
) -> None:
    """By the same call from the place where the first ended; elsewhere there is no button."""
    pages = [
        {"ok": True, "data": {"events": [{"action": "run_repl", "step_index": at, "code": f"step({at})"}], **more}}
        for at, more in ((1, {"next_offset": 700}), (2, {"next_offset": None}))
    ]
    first, second = ({"content": [{"type": "text", "text": json.dumps(page)}]} for page in pages)
    found = shown(browser, tmp_path, first, host=MAY_CALL, further=second)
    (call,) = [said["params"] for said in found.heard if said.get("method") == "tools/call"]
    assert call == {"name": "rlm_get_trace", "arguments": {"session_id": f"s_1 {MARKUP}", "offset": 700}}
    assert "step(1)" in found.text
    assert "step(2)" in found.text
    buttons = [node for node in found.nodes if node["localName"] == "button"]
    assert ["hidden" in node["attributes"] for node in buttons] == [True]
    silent = shown(browser, tmp_path, first)
    buttons = [node for node in silent.nodes if node["localName"] == "button"]
    assert ["hidden" in node["attributes"] for node in buttons] == [True]


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"content": "x", "structuredContent": [1]},
        {"content": [None, {"type": "image", "data": "x"}, {"type": "text", "text": "no JSON"}]},
        {
            "structuredContent": {
                "ok": True,
                "data": {"events": [None, 3, {"action": {"a": 1}, "error": [], "citations": 7}]},
            }
        },
        {"structuredContent": {"ok": False, "error": {"code": "SESSION_NOT_FOUND", "message": "There is no session."}}},
        {"structuredContent": {"ok": True, "data": {"events": [{"stdout": "y" * 5_000_000}] * 3}}},
    ],
    ids=["nothing", "other kinds", "a text", "events of no form", "an error", "a long line"],
)
def test_whatever_a_client_posts_the_page_goes_on(browser: Chromium, tmp_path: Path, result: dict[str, Any]) -> None:
    """It answers its client after it, and has drawn what there was to draw, no wider than its frame."""
    found = shown(browser, tmp_path, result)
    assert found.heard[-1] == {"jsonrpc": "2.0", "id": "first", "result": {}}
    assert (found.dialogs, found.requested, set(found.tags) <= DRAWN, found.is_within) == ((), (), True, True)
    assert len(found.text) < 700_000


def test_marks_that_are_heaped_on_a_letter_are_counted_and_words_keep_theirs(browser: Chromium, tmp_path: Path) -> None:
    """Chromium lays out 50,000 of them for seconds."""
    words = "e\u0301te\u0301 \u0928\u093f\u0902 \U0001f469\u200d\U0001f4bb"
    text = f"{words} a{chr(0x301) * 50_000}"
    found = shown(browser, tmp_path, {"structuredContent": {"ok": True, "data": {"events": [{"stdout": text}]}}})
    assert f"{words} a{chr(0x301) * 4} [+49,996 marks]" in found.text


def test_what_the_live_page_names_is_named_here_too_and_words_stay(browser: Chromium, tmp_path: Path) -> None:
    odd = {text: name for text, name in NAMED.items() if not name.endswith("marks")}
    event = {"stdout": "\n".join(odd), "result": "\n".join(STAYS)}
    found = shown(browser, tmp_path, {"structuredContent": {"ok": True, "data": {"events": [event]}}})
    assert [name for text, name in odd.items() if text in found.text] == []
    assert found.text.count("\\u{") == len(odd)
    assert [text for text in STAYS if text not in found.text] == []


def test_it_does_its_part_of_the_handshake_and_says_how_large_it_is(browser: Chromium, tmp_path: Path) -> None:
    """In the order that the extension has: nothing is sent to it before it says that it is ready."""
    found = shown(browser, tmp_path, {"content": [{"type": "text", "text": "a page"}]})
    methods = [said.get("method") for said in found.heard]
    assert methods[0] == "ui/initialize"
    assert found.heard[0]["params"]["protocolVersion"] == "2026-01-26"
    assert methods.index("ui/notifications/initialized") > 0
    sizes = [said["params"] for said in found.heard if said.get("method") == "ui/notifications/size-changed"]
    assert all(size["width"] > 0 and size["height"] > 0 for size in sizes)
    assert "a page" in found.text
