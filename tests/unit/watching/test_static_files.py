"""The live page's files keep the rules of the house: small, in layers, and without what could run a text of others."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import PurePosixPath
from typing import Final

import pytest

from rlm_kernel_mcp.watching.exporting import STATIC

LINES_MAX: Final = 300
LAYERS: Final = ("ground", "run", "views", ".")
"""Each imports from itself and from those before it."""
IMPORT: Final = re.compile(r'\bfrom "([^"]+)"')
ACTS: Final = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|srcdoc|\beval\b"
    r"|\bFunction\(|setTimeout\(\s*[\"'`]|setInterval\(\s*[\"'`]|javascript:|import\("
)
"""What makes text into elements or code."""
ADDRESS: Final = re.compile(r"\b(?:https?|wss?):|//[a-z0-9-]+\.[a-z]")
NAMESPACE: Final = "http://www.w3.org/2000/svg"
FILES: Final = sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.is_file())
MODULES: Final = [name for name in FILES if name.endswith(".js")]
STYLES: Final = [name for name in FILES if name.endswith(".css")]


def text_of(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")


def layer_of(name: str) -> int:
    return LAYERS.index(str(PurePosixPath(name).parent))


def imports_of(name: str) -> list[str]:
    """By their place below `static/`."""
    here = STATIC / name
    return [
        str((here.parent / other).resolve().relative_to(STATIC.resolve())) for other in IMPORT.findall(text_of(name))
    ]


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_at_most_300_lines_and_of_a_kind_that_is_served(name: str) -> None:
    assert name.endswith((".html", ".css", ".js"))
    assert len(text_of(name).splitlines()) <= LINES_MAX
    assert text_of(name).endswith("\n")


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_is_and_what_it_is_not(name: str) -> None:
    header = text_of(name).split("\nimport ")[0].replace("\n// ", " ")
    assert header.startswith("// ")
    assert "Is: " in header
    assert "Is not: " in header


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_what_there_is_from_its_own_layer_or_below(name: str) -> None:
    for other in imports_of(name):
        assert other in MODULES
        assert layer_of(other) <= layer_of(name)


def test_no_module_imports_itself_by_way_of_others() -> None:
    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " imports ".join((*way, name))
        for other in imports_of(name):
            walk(other, (*way, name))

    walk("app.js", ())


def test_every_module_and_every_style_is_used() -> None:
    used = {"app.js"}
    left = ["app.js"]
    while left:
        for other in imports_of(left.pop()):
            if other not in used:
                used.add(other)
                left.append(other)
    assert used == {*MODULES}
    assert sorted(re.findall(r"rel=\"stylesheet\" href=\"([^\"]+)\"", text_of("index.html"))) == STYLES


@pytest.mark.parametrize("name", MODULES)
def test_a_module_makes_no_elements_and_no_code_out_of_text(name: str) -> None:
    """Trusted Types would refuse it; nothing tries."""
    assert ACTS.search(text_of(name)) is None


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_an_address(name: str) -> None:
    assert ADDRESS.search(text_of(name).replace(NAMESPACE, "")) is None


@pytest.mark.parametrize("name", STYLES)
def test_a_style_asks_for_nothing(name: str) -> None:
    assert "url(" not in text_of(name)
    assert "@import" not in text_of(name)


class _Attributes(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []
        self.inline: list[str] = []
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within = tag
        self.found += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)


def test_the_page_has_no_inline_script_or_style() -> None:
    page = _Attributes()
    page.feed(text_of("index.html"))
    assert page.inline == []
    assert [one for one in page.found if one[1].startswith("on") or one[1] == "style"] == []
    named = {value for _, name, value in page.found if name in ("href", "src")}
    assert named == {"data:,", "app.js", "#main", "#/", *STYLES}
