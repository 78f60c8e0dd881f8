"""What a step displays is in its report, in the record, and in the trace that is read as a whole."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any, Final

import pytest

from rlm_kernel_mcp.commands.showing.json_line import json_line
from rlm_kernel_mcp.kernel.untrusted.shown.displays import Display
from rlm_kernel_mcp.server import markdown
from rlm_kernel_mcp.session.reports import StepReport
from rlm_kernel_mcp.session.trace.displayed import DAMAGED, GONE, NO_ROOM
from rlm_kernel_mcp.session.trace.reading import whole_trace
from rlm_kernel_mcp.session.trace.reports import Displayed, TraceEvent
from rlm_kernel_mcp.store import displays as displays_module
from tests.fake_kernel import CELL, FOREVER, FakeKernel, Fakes
from tests.sessions import SessionDriver, end_session
from tests.unit.kernel.untrusted.shown.drawn import base64_of, png

pytestmark = pytest.mark.anyio
PNG: Final = base64_of(png())
HTML: Final = "<script>x()</script>\x1b[2J\ud800"
BESIDE: Final = {
    "rlm": {"kept": {"text/html": HTML, "image/svg+xml": "<svg/>"}, "left_out": {"text/markdown": "failed"}}
}


async def shown(session: SessionDriver, kernel: FakeKernel, *bundles: dict[str, Any]) -> StepReport:
    """The report of a step that displays these, and is then interrupted."""
    step = (await session.begin(FOREVER)).step_index
    await session.until_printed("begun\n")
    assert kernel._running is not None
    for bundle in bundles:
        kernel.iopub.say("display_data", bundle, kernel._running[0])
    kernel.iopub.say("stream", {"name": "stdout", "text": "shown\n"}, kernel._running[0])
    await session.until_printed("shown\n")
    await session.interrupt()
    return await session.end_of(step)


def steps(fakes: Fakes, session: SessionDriver) -> list[TraceEvent]:
    found = [event for event in whole_trace(fakes.registry.store, session.session_id) if event is not None]
    return [event for event in found if event.action == "run_repl"]


async def test_a_report_has_the_pictures_and_the_trace_all_that_was_displayed(fakes: Fakes) -> None:
    session, kernel = await fakes.open()
    report = await shown(session, kernel, {"data": {"text/plain": "a picture", "image/png": PNG}, **BESIDE})
    assert report.images == (Display("image/png", PNG, 1), Display("image/svg+xml", "<svg/>", 1))
    (event,) = steps(fakes, session)
    assert event.displays == (
        Displayed("image/png", 1, len(png()), PNG),
        Displayed("text/html", 1, len(HTML.encode("utf-8", "surrogatepass")), HTML),
        Displayed("image/svg+xml", 1, 6, "<svg/>"),
    )
    assert event.facts["displayed"] == {"image/png": 1, "text/html": 1, "image/svg+xml": 1}
    assert event.facts["not_displayed"] == {"failed": 1}
    told = markdown.event(event)
    assert "displayed: 1 image/png, 1 text/html, 1 image/svg+xml" in told
    assert "not kept of what it displayed: 1 (its own code failed to make it)" in told
    assert HTML not in told


async def test_as_json_it_is_data_in_which_nothing_acts(fakes: Fakes) -> None:
    """And an event that has displayed nothing says nothing of it."""
    session, kernel = await fakes.open()
    await shown(session, kernel, {"data": {}, **BESIDE})
    await session.ok("1")
    first, second = map(json_line, steps(fakes, session))
    assert first.isprintable()
    assert json.loads(first)["displays"][0] == {
        "mime_type": "text/html",
        "place": 1,
        "size_bytes": len(HTML.encode("utf-8", "surrogatepass")),
        "data": HTML,
        "why": None,
    }
    assert "displays" not in json.loads(second)


async def test_an_agent_s_trace_has_the_numbers_and_not_the_data(fakes: Fakes) -> None:
    """It has seen what it could be shown, and would pay for the rest."""
    session, kernel = await fakes.open()
    await shown(session, kernel, {"data": {"image/png": PNG}, **BESIDE})
    (event,) = [event for event in await session.trace() if event.action == "run_repl"]
    assert event.displays == ()
    assert event.facts["displayed"]["image/png"] == 1


async def test_a_report_that_is_asked_for_later_has_them_from_the_record(fakes: Fakes) -> None:
    """Also by the next server of the session."""
    session, kernel = await fakes.open()
    first = await shown(session, kernel, {"data": {"image/png": PNG}, **BESIDE})
    session.session.journal.forget()
    assert (await session.end_of(first.step_index)).images == first.images
    await end_session(session)
    assert (await session.end_of(first.step_index)).images == first.images


async def test_a_damaged_picture_is_said_to_whoever_ran_the_step(fakes: Fakes) -> None:
    """Also where its report is made from the record."""
    session, kernel = await fakes.open()
    report = await shown(session, kernel, {"data": {"image/png": base64_of(png()[:-3])}})
    session.session.journal.forget()
    for said in (report, await session.end_of(report.step_index)):
        assert said.images == ()
        assert "1 displayed picture is damaged, and not shown." in (said.note or "")


async def test_what_has_no_room_or_is_damaged_is_said_in_its_place(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event itself is whole."""
    session, kernel = await fakes.open()
    monkeypatch.setattr(displays_module, "SESSION_BYTES", len(png()) + 6)
    await shown(session, kernel, {"data": {"image/png": PNG}, **BESIDE})
    with closing(sqlite3.connect(fakes.registry.settings.state_dir / "sessions.db")) as connection, connection:
        connection.execute("UPDATE displays SET data = x'00' WHERE mime_type = 'image/svg+xml'")
    (event,) = steps(fakes, session)
    assert [(one.data, one.why) for one in event.displays] == [(PNG, None), (None, NO_ROOM), (None, DAMAGED)]


async def test_what_the_store_has_no_more_is_said_too(fakes: Fakes) -> None:
    """In a store in memory that is full it is what goes first, and the event still has the number."""
    session, kernel = await fakes.open()
    await shown(session, kernel, {"data": {"image/png": PNG}, **BESIDE})
    with closing(sqlite3.connect(fakes.registry.settings.state_dir / "sessions.db")) as connection, connection:
        connection.execute("DELETE FROM displays WHERE mime_type <> 'image/png'")
    (event,) = steps(fakes, session)
    assert [(one.data, one.why) for one in event.displays] == [(PNG, None), (None, GONE), (None, GONE)]


async def test_what_a_console_s_cell_displays_is_the_person_s_own(fakes: Fakes) -> None:
    """Whoever runs it sees it; in the record is its text."""
    session, kernel = await fakes.open()
    kernel.begin_cell("picture")
    kernel.iopub.say("display_data", {"data": {"text/plain": "a picture", "image/png": PNG}, **BESIDE}, CELL)
    kernel.end_cell()
    await session.ok("1")
    (event,) = [event for event in steps(fakes, session) if event.source == "console"]
    assert (event.stdout, event.displays) == ("a picture\n", ())
