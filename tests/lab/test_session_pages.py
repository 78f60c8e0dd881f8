"""A session's page in headless Chromium: whatever its code has shown, it asks for nothing and runs nothing."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.notebook.writing.page import META
from rlm_kernel_mcp.session.contexts.given import Options
from tests.escape.cases import read_corpus
from tests.lab.chromium import Chromium, Visit, started
from tests.lab.home import Home
from tests.parts import chromium
from tests.sessions import AMPLE, WAIT_S, SessionDriver, open_registry

pytestmark = pytest.mark.slow
MARKUP: Final = (
    "<script>alert('script')</script><script src=http://evil.example/a.js></script>"
    "<img src=http://evil.example/a.png onerror=\"alert('image')\"><svg onload=\"alert('svg')\"></svg>"
    "<iframe src=http://evil.example/frame></iframe><link rel=stylesheet href=http://evil.example/a.css>"
    "<style>@import url(http://evil.example/b.css); body { background: url(http://evil.example/b.png) }</style>"
    "<video src=http://evil.example/a.mp4></video><object data=http://evil.example/o></object>"
)
"""What acts in a page, each in a way of its own."""
DRAWING: Final = (
    "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink' width='9' height='9' "
    "onload=\"alert('onload')\"><script>alert('inner')</script><script xlink:href='http://evil.example/s.js'/>"
    "<style>@import url(http://evil.example/s.css);</style>"
    "<image href='http://evil.example/s.png' width='9' height='9'/><foreignObject width='9' height='9'>"
    "<body xmlns='http://www.w3.org/1999/xhtml'><iframe src='http://evil.example/f'/>"
    "<img src='http://evil.example/i.png'/></body></foreignObject><rect width='9' height='9'/></svg>"
)
"""An SVG that acts where it is a page of its own, or part of one."""
DRAWN: Final = DRAWING.replace("<style>@import url(http://evil.example/s.css);</style>", "")
"""As it is shown as a picture: with a style that names something its source is shown."""
TABLE: Final = f"<style>{MARKUP}</style><table onclick=\"alert('table')\"><thead><tr><th>head</th></tr></thead></table>"
STEPS: Final = (
    f"print({MARKUP!r})",
    f"class Page:\n    def __repr__(self): return {MARKUP!r}\n    def _repr_html_(self): return repr(self)\nPage()",
    f"raise ValueError({MARKUP!r})",
    f"import sys; print({MARKUP!r}, file=sys.stderr)",
    f"# {MARKUP}\n'in the code alone'",
    "print('\\x1b]8;;http://evil.example\\x07link\\x1b[31mred')",
    f"class Drawing:\n    def __repr__(self): return 'd'\n    def _repr_svg_(self): return {DRAWN!r}\nDrawing()",
    f"class Table:\n    def __repr__(self): return 't'\n    def _repr_html_(self): return {TABLE!r}\nTable()",
    f"class Styled:\n    def __repr__(self): return 's'\n    def _repr_svg_(self): return {DRAWING!r}\nStyled()",
)
TEXT: Final = f"{MARKUP}\n![x](http://evil.example/x.png)\n"
QUESTION: Final = "<script>alert('question')</script> ![x](http://evil.example/q.png)"


@dataclass(frozen=True)
class Page:
    """One page, as a file and as its text."""

    path: Path
    text: str


@pytest.fixture(scope="module")
async def page(tmp_path_factory: pytest.TempPathFactory, home: Home, anyio_backend: object) -> Page:
    """Of a session in which everything that can have markup has it: code, outputs, question, context, answer.

    `anyio_backend`: named, since the tests themselves have no loop.
    """
    del anyio_backend
    state = tmp_path_factory.mktemp("state")
    cases = [case for case in read_corpus() if case.category == "output"]
    assert len(cases) > 10
    async with open_registry(state) as registry:
        async with asyncio.timeout(WAIT_S):
            opened = await registry.init_context(
                context_text=TEXT, context_paths=None, limits=AMPLE, options=Options(question=QUESTION)
            )
        session = SessionDriver(registry, opened.session_id)
        for code in (*STEPS, *(step for case in cases for step in case.filled({"CANARY_PORT": "9"}))):
            await session.run(code)
        await session.finalize(text=TEXT)
        await session.trace()
    env = {**home.env, "RLM_STATE_DIR": str(state)}
    done = Home(home.directory, env).run("rlm-kernel-mcp", "trace", session.session_id, "--format", "html")
    assert done.returncode == 0, done.stderr
    return Page(home.write("page.html", done.stdout), done.stdout)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """One for all pages."""
    with started(chromium(), tmp_path_factory.mktemp("profile")) as made:
        yield made


class Tags(HTMLParser):
    """What a page has: tags, and what its attributes name or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.named: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.named += [(name, value or "") for name, value in attrs if name in ("src", "href") or name.startswith("on")]


def test_it_names_no_address_and_has_no_script(page: Page) -> None:
    """Whatever the session's code has shown: it is there as text."""
    found = Tags()
    found.feed(page.text)
    assert {"script", "iframe", "object", "embed", "base", "form", "video", "link"} & set(found.tags) == set()
    assert [one for one in found.named if one[0].startswith("on") or not one[1].startswith(("#", "data:"))] == []
    assert page.text.index("Content-Security-Policy") < page.text.index("<style")
    assert "&lt;script&gt;alert(" in page.text
    assert "<th>head</th>" in page.text
    assert f'src="data:image/svg+xml;base64,{base64.b64encode(DRAWN.encode()).decode()}"' in page.text
    assert "[image/svg+xml]\n&lt;svg" in page.text


def test_chromium_asks_the_network_for_nothing_and_runs_no_script(page: Page, browser: Chromium) -> None:
    visit = browser.visit(page.path)
    assert (visit.requested, visit.scripts, visit.dialogs, visit.frames) == ((), (), (), 0)
    assert "&lt;script&gt;alert(" in visit.html


def test_its_policy_holds_even_where_markup_has_got_into_it(browser: Chromium, tmp_path: Path) -> None:
    """Without the policy the same markup acts in each of its ways, and the browser tells of it."""
    bare = visited(browser, tmp_path / "bare.html", "")
    assert set(bare.dialogs) == {"script", "image", "svg"}
    assert bare.scripts
    assert {f"http://evil.example/{name}" for name in ("a.js", "a.png", "a.css", "b.css", "frame")} <= {*bare.requested}
    held = visited(browser, tmp_path / "held.html", META)
    assert (held.requested, held.scripts, held.dialogs) == ((), (), ())
    assert held.blocked


def test_a_drawing_acts_where_it_is_a_page_and_not_where_it_is_a_picture(browser: Chromium, tmp_path: Path) -> None:
    """With no policy at all; the browser tells of each way in which the page does."""
    drawing = tmp_path / "drawing.svg"
    drawing.write_text(DRAWING)
    page = browser.visit(drawing)
    assert {"onload", "inner"} <= {*page.dialogs}
    assert {f"http://evil.example/{name}" for name in ("s.js", "s.css", "s.png", "i.png")} <= {*page.requested}
    picture = tmp_path / "picture.html"
    data = base64.b64encode(DRAWING.encode()).decode()
    picture.write_text(f"<!DOCTYPE html><title>x</title><img src='data:image/svg+xml;base64,{data}'>")
    shown = browser.visit(picture)
    assert (shown.requested, shown.scripts, shown.dialogs, shown.frames) == ((), (), (), 0)


def visited(browser: Chromium, path: Path, meta: str) -> Visit:
    """A page that has the markup, with this in its head."""
    path.write_text(f"<!DOCTYPE html><html><head>{meta}<title>x</title></head><body>{MARKUP}</body></html>")
    return browser.visit(path)
