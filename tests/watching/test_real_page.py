"""The page over its real server and a real record: of a real kernel, a server that is killed, a step that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.session.contexts.given import Options
from rlm_kernel_mcp.session.seen.maps import SeenMap
from tests.lab.chromium import Chromium
from tests.sessions import AMPLE, WAIT_S, SessionDriver, open_registry, until
from tests.unit.watching.recorded import Recorded
from tests.watching.tab import Tab, opened
from tests.watching.watched import Watch, watched

pytestmark = pytest.mark.slow
QUESTION: Final = "Where does <b>the needle</b> lie?"
FOUND: Final = "a needle lies here, between the third bale and the fourth, where nobody has looked before"
LINES: Final = "".join(f"line {number} of hay\n" for number in range(400)) + f"{FOUND}\n" + "more hay\n" * 200
MARKUP: Final = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\x1b[31m\u202e"
STEPS: Final = (
    "hits = search('needle')\nprint(next(line for line in context.splitlines() if 'needle' in line))",
    "mark = cite(hits[0])\nmark",
    f"print({MARKUP!r})",
    "1 / 0",
    "print('A' * 5_000_000)",
)
IDS: Final = "[...document.querySelectorAll('article')].map((one) => one.id)"
LINK: Final = "document.querySelector('#link').textContent"


@pytest.fixture(scope="module")
async def recorded(tmp_path_factory: pytest.TempPathFactory, anyio_backend: object) -> tuple[Path, str]:
    """A state directory with a session of a real kernel that has its answer, and the session's id."""
    del anyio_backend
    state, root = tmp_path_factory.mktemp("state"), tmp_path_factory.mktemp("root")
    (root / "hay.txt").write_text(LINES)
    (root / "other.txt").write_text("nothing of note\n" * 50)
    async with open_registry(state, RLM_CONTEXT_ROOTS=str(root)) as registry:
        async with asyncio.timeout(WAIT_S):
            made = await registry.init_context(
                context_text=None, context_paths=[str(root)], limits=AMPLE, options=Options(question=QUESTION)
            )
        session = SessionDriver(registry, made.session_id)
        for code in STEPS:
            await session.run(code)
        seen = SeenMap(registry.store, made.session_id)
        await until(lambda: (seen.refresh(), seen.delivered("context", 0, len(LINES)))[1] != [])
        await session.finalize(text="It lies in the hay [c1].")
        await session.trace()
    return state, made.session_id


@pytest.fixture(scope="module")
def watch(recorded: tuple[Path, str]) -> Iterator[Watch]:
    with watched(recorded[0]) as made:
        yield made


@pytest.fixture
def tab(browser: Chromium) -> Iterator[Tab]:
    """Whatever it complains of fails the test, beside a server that is gone."""
    with opened(browser) as made:
        yield made
    assert [one for one in made.complaints if "net::ERR_" not in one] == []


def test_a_session_of_a_real_kernel_is_shown_from_its_question_to_its_evidence(
    tab: Tab, watch: Watch, recorded: tuple[Path, str]
) -> None:
    tab.go(watch.address)
    tab.wait("document.querySelector('a.row')")
    assert "/t/" not in tab.run("location.href")
    assert tab.run("document.querySelector('.row-title').textContent") == QUESTION
    tab.tab_to(f"at.getAttribute('href') === '#/s/{recorded[1]}'")
    tab.key("Enter")
    tab.wait(f"{LINK} === 'ended' && document.querySelector('.answer')")
    assert tab.run("document.querySelector('h1').textContent") == QUESTION
    tab.tab_to("at.id === 'ref-c1'")
    tab.key("Enter")
    assert tab.run("document.activeElement.id") == "cite-c1"
    assert tab.run("document.querySelector('#cite-c1 mark').textContent") == "needle"
    assert "a needle lies here" in tab.run("document.querySelector('#cite-c1 pre').textContent")
    assert "hay.txt:401" in tab.run("document.querySelector('#cite-c1 code').textContent")
    text = tab.text()
    assert "1 of 1 citation verified" in text
    assert MARKUP.partition("\x1b")[0] in text
    assert "ZeroDivisionError" in text
    assert tab.run("document.querySelectorAll('main script, main img').length") == 0
    assert tab.run("document.title") == f"{QUESTION} · rlm watch"


def test_its_map_says_what_was_searched_delivered_and_cited(tab: Tab, watch: Watch, recorded: tuple[Path, str]) -> None:
    tab.go(watch.address)
    tab.go(f"{tab.run('location.href')}#/s/{recorded[1]}")
    tab.wait("document.querySelector('.of-searched')?.textContent.startsWith('searched 100')")
    tab.wait("/^delivered [1-9]/.test(document.querySelector('.of-delivered').textContent)")
    tab.wait("/^cited [1-9]/.test(document.querySelector('.of-cited').textContent)")
    tab.wait("document.querySelectorAll('.pin').length === 1")
    tab.wait("!document.querySelector('.lanes').hidden")
    tab.run("document.querySelector('.lanes').open = true")
    assert "hay.txt" in tab.run("document.querySelector('.lanes').innerText")


def test_a_long_line_of_a_real_kernel_is_read_on_in_pieces(tab: Tab, watch: Watch, recorded: tuple[Path, str]) -> None:
    tab.go(watch.address)
    tab.go(f"{tab.run('location.href')}#/s/{recorded[1]}")
    tab.wait(f"{LINK} === 'ended' && document.querySelector('.answer')")
    box = "[...document.querySelectorAll('.is-printed')].at(-1)"
    assert "more characters in this line" in tab.run(f"{box}.querySelector('.cut').textContent")
    more = f"[...{box}.querySelectorAll('.more')]"
    for _ in range(2):
        tab.run(f"{more}[0].click()")
        tab.wait(f"!{more}[1].hidden && {more}[1].textContent.includes('characters follow')")
        tab.run(f"{more}[0].click()")


def test_a_page_goes_on_without_doubles_where_its_server_was_killed_and_started_again(tab: Tab, tmp_path: Path) -> None:
    session = Recorded(tmp_path)
    try:
        for number in range(5):
            session.step(f"print({number})", stdout=f"{number}\n")
        with watched(tmp_path) as watch:
            tab.go(watch.address)
            tab.go(f"{tab.run('location.href')}#/s/{session.session_id}")
            tab.wait(f"{IDS}.length === 5 && {LINK} !== ''")
            watch.kill()
            tab.wait(f"{LINK} === 'connection lost, trying again'")
            session.step("print('meanwhile')", stdout="meanwhile\n")
            watch.start_again()
            tab.wait(f"{IDS}.length === 6")
            session.step("print('after')", stdout="after\n")
            tab.wait(f"{IDS}.length === 7")
            ids = tab.run(IDS)
            assert len({*ids}) == 7
            assert tab.run("document.querySelector('.choices button').textContent") == "All 7"
    finally:
        session.close()


def test_a_step_that_runs_is_shown_with_those_before_it(tab: Tab, tmp_path: Path) -> None:
    session = Recorded(tmp_path)
    try:
        session.step("print('before')", stdout="before\n")
        running = session.begin("while True: pass")
        with watched(tmp_path) as watch:
            tab.go(watch.address)
            tab.wait("document.querySelector('.pill').textContent === 'Running'")
            tab.go(f"{tab.run('location.href')}#/s/{session.session_id}")
            tab.wait("document.querySelector('.now h2')?.textContent === 'Step 2, running'")
            assert tab.run(f"{IDS}.length") == 1
            session.end(running, "interrupted")
            tab.wait(f"{IDS}.length === 2")
            tab.wait("document.querySelector('.now h2').textContent.includes('last was step 2')")
    finally:
        session.close()
