"""What a step displays for people is in the record, and its agent is shown what it was shown before."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.kernel.untrusted.shown.displays import DISPLAYS_MAX
from rlm_kernel_mcp.session.trace.reading import whole_trace
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from tests.sessions import SessionDriver

pytestmark = pytest.mark.anyio

RICH = """
from IPython.display import HTML, SVG, Markdown, display
class Rich:
    def __init__(self, html='<b>rich</b>'): self.html = html
    def __repr__(self): return 'plain'
    def _repr_html_(self): return self.html
    def _repr_markdown_(self): return '*rich*'
    def _repr_svg_(self): return '<svg/>'
    def _repr_latex_(self): raise AssertionError('nobody wants it')
class Failing(Rich):
    def _repr_html_(self): raise ValueError('no html')
    def _repr_svg_(self): return 7
"""


async def displayed(session: SessionDriver, code: str) -> TraceEvent:
    """The event of a step that displays something."""
    report = await session.ok(RICH + code)
    events = [event for event in whole_trace(session.registry.store, session.session_id) if event is not None]
    return next(event for event in events if (event.action, event.step_index) == ("run_repl", report.step_index))


@pytest.mark.parametrize(
    ("code", "text", "kept"),
    [
        ("Rich()", "plain", {"text/html": "<b>rich</b>", "text/markdown": "*rich*", "image/svg+xml": "<svg/>"}),
        ("display(HTML('<i>x</i>'))", "<IPython.core.display.HTML object>\n[its text/html", {"text/html": "<i>x</i>"}),
        ("Markdown('# x')", "# x", {"text/markdown": "# x"}),
        ("display({'text/plain': 'p', 'text/html': '<i>'}, raw=True)", "p", {"text/html": "<i>"}),
        ("Rich", "", {}),
        ("Rich();", "", {}),
    ],
    ids=["result", "display", "markdown", "raw", "class", "quiet"],
)
async def test_its_agent_gets_the_text_and_the_record_has_what_a_notebook_would_show(
    shared: SessionDriver, code: str, text: str, kept: dict[str, str]
) -> None:
    event = await displayed(shared, code)
    assert (event.result or event.stdout or "").startswith(text)
    assert {one.mime_type: one.data for one in event.displays} == kept


async def test_html_that_fails_is_no_error_of_the_step(shared: SessionDriver) -> None:
    """Nobody has asked for it. That there is none is said in the record."""
    event = await displayed(shared, "Failing()")
    assert (event.result, event.error, event.stderr) == ("plain", None, "")
    assert [one.mime_type for one in event.displays] == ["text/markdown"]
    assert event.facts["not_displayed"] == {"failed": 2}


async def test_html_above_the_limit_is_left_out_and_said(shared: SessionDriver) -> None:
    """The rest of the same value is kept."""
    event = await displayed(shared, "Rich('x' * 256_001)")
    assert [one.mime_type for one in event.displays] == ["text/markdown", "image/svg+xml"]
    assert event.facts["not_displayed"] == {"too_large": 1}


async def test_what_is_large_in_every_type_costs_no_kernel(shared: SessionDriver) -> None:
    """Characters that take twelve bytes each as JSON: more than the host reads in one message."""
    code = """
class Large(Rich):
    def __repr__(self): return chr(0xd800) + chr(0x1f600) * 150_000
    def _repr_markdown_(self): return chr(0x1f600) * 100_000
Large(chr(0x1f600) * 200_000)
"""
    event = await displayed(shared, code)
    assert event.facts["not_displayed"]["too_large"] > 0
    assert (await shared.ok("6 * 7")).result == "42"


async def test_many_displays_are_the_first_ones_and_a_number(shared: SessionDriver) -> None:
    event = await displayed(shared, "for number in range(200): display(HTML(f'<i>{number}</i>'))")
    assert [one.data for one in event.displays] == [f"<i>{number}</i>" for number in range(DISPLAYS_MAX)]
    assert event.facts["not_displayed"] == {"too_many": 200 - DISPLAYS_MAX}
