"""What a kernel claims is known to the host: also after the kernel's death, and in another server's process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.context_wire import CLAIMS_STEP_MAX, Claim
from rlm_kernel_mcp.errors import CitationMismatch
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.evidence.citations import Quote
from rlm_kernel_mcp.session.registry import Registry
from tests.losses import lose_kernel, settle
from tests.sessions import SessionDriver, open_registry

pytestmark = pytest.mark.anyio

TEXT = "one\ntwo needle\nthree needle\n"


@pytest.fixture(scope="module")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    async with open_registry(tmp_path_factory.mktemp("state")) as opened:
        yield opened


def claims(session: SessionDriver) -> dict[int, tuple[str, str, int, int, str]]:
    """What the host has, by number: context, document, place, and the text there."""
    found: dict[int, Claim] = session.session.evidence.claims
    return {number: (one.context, one.document, one.start, one.end, one.text) for number, one in found.items()}


async def test_the_host_has_what_a_step_claims_with_its_report(registry: Registry) -> None:
    """Also a step that failed, of each context; and its functions, and how much was searched."""
    session = await SessionDriver.open(registry, TEXT)
    await registry.add_context(session.session_id, Given(text="more of it"), Options("more"))
    await session.ok("hits = search('needle'); first = cite(hits[0])")
    await session.run("cite(hits[0]); cite(search('of', docs='more')[0]); count('x'); 1 / 0")
    assert claims(session) == {1: ("context", "context", 8, 14, "needle"), 2: ("more", "more", 5, 7, "of")}
    assert [(event.action, event.functions) for event in await session.trace()][2:] == [
        ("run_repl", {"search": 1, "cite": 1}),
        ("run_repl", {"search": 1, "count": 1, "cite": 2}),
    ]
    assert session.session.evidence.explored["context"].searched == len(TEXT)


async def test_a_mark_means_the_same_place_whatever_becomes_of_its_kernel(registry: Registry) -> None:
    """A variable that holds one comes back; a fresh kernel's numbers lie behind any that the lost one has printed."""
    session = await SessionDriver.open(registry, TEXT)
    await session.ok("kept = [cite(hit) for hit in search('needle')]")
    before = claims(session)
    await lose_kernel(session)
    assert (await session.ok("kept, cite((0, 3))")).result == "([[c1], [c2]], [c3])"
    lost = await session.begin("print(cite((0, 1)), flush=True)\nwhile True: pass")
    await session.until_printed("[c4]")
    await lose_kernel(session, settled=False)
    assert (await session.end_of(lost.step_index)).status == "kernel_died"
    assert (await session.ok("kept[0], cite((1, 2))")).result == f"([c1], [c{CLAIMS_STEP_MAX + 4}])"
    assert claims(session).items() >= before.items()
    assert sorted(claims(session)) == [1, 2, 3, CLAIMS_STEP_MAX + 4]


async def test_another_server_has_the_claims_of_the_record(tmp_path: Path) -> None:
    """And goes on behind them."""
    async with open_registry(tmp_path) as first:
        session = await SessionDriver.open(first, TEXT)
        await session.ok("mark = cite(search('three')[0]); print('é\\n' * 9); count('e')")
        known, searched = claims(session), session.session.evidence.explored
        delivered = session.session.evidence.delivered_chars
        assert delivered > 0
        await settle(session)
    async with open_registry(tmp_path) as second:
        again = SessionDriver(second, session.session_id)
        assert (await again.ok("mark, cite((0, 1))")).result == "([c1], [c2])"
        assert (claims(again).items() >= known.items(), claims(again)[2][2:4]) == (True, (0, 1))
        assert again.session.evidence.explored == searched
        assert again.session.evidence.delivered_chars == delivered + len("([c1], [c2])")


async def test_an_answer_is_taken_once_what_it_cites_is_there(registry: Registry) -> None:
    """A mark that no step made and a quote that somebody invented are refused, and the session goes on."""
    session = await SessionDriver.open(registry, TEXT)
    await session.ok("cite(search('needle')[0])")
    invented = [Quote("four needles in a haystack")]
    with pytest.raises(CitationMismatch, match="2 of 3 citations did not pass") as refused:
        await session.finalize(text="It is there [c1], and there [c2].", quotes=invented)
    assert [(row["id"], row["status"]) for row in refused.value.citations] == [("c2", "missing"), ("q1", "missing")]
    await session.ok("cite(search('needle')[1])")
    report = await session.finalize(text="It is there [c1], and there [c2].", quotes=[Quote("two needle\nthree")])
    assert report.citations is not None
    assert [(one.id, one.status, one.passage and one.passage.start_line) for one in report.citations] == [
        ("c1", "verified", 2),
        ("c2", "verified", 3),
        ("q1", "verified", 2),
    ]
