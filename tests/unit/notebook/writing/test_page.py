"""The page of a notebook loads nothing and runs nothing. nbconvert's own part is tried in the lab's environment."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.notebook.writing import page as made
from rlm_kernel_mcp.notebook.writing.page import META, with_displays, without_scripts

PAGE = """<!DOCTYPE html>
<html lang="en"><head class="x"><meta charset="utf-8"/>
<script src="https://cdn.example/require.js"></script>
<SCRIPT type="module">
import x from "https://cdn.example/x.mjs";
</SCRIPT >
</head><body><pre>&lt;script&gt;alert(1)&lt;/script&gt;</pre><script>alert(2)</script></body></html>"""


def test_no_script_is_left_and_the_policy_comes_first() -> None:
    """Text that spells one stays."""
    page = without_scripts(PAGE)
    assert "<script" not in page.lower()
    assert "cdn.example" not in page
    assert "&lt;script&gt;alert(1)" in page
    head = page.index('<head class="x">') + len('<head class="x">')
    assert page[head:].startswith(META)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in META


def test_what_is_no_page_is_none() -> None:
    with pytest.raises(ValueError, match="no head"):
        without_scripts("text")


SVG = "<svg xmlns='http://www.w3.org/2000/svg'><path d='M0 0'/></svg>"


def shown(*displays: tuple[str, str]) -> list[dict[str, str]]:
    """As what the page has it."""
    told = [{"type": kind, "place": 1, "text": text} for kind, text in displays]
    step = {"cell_type": "code", "metadata": {"rlm": {"displays": told}}, "outputs": []}
    other = {"cell_type": "markdown", "metadata": {"rlm": {"role": "event"}}, "source": "x"}
    found, same = with_displays({"cells": [step, other], "nbformat": 4})["cells"]
    assert (step["outputs"], same) == ([], other)
    return [one["data"] for one in found["outputs"]]


def test_an_svg_is_a_picture_and_html_is_laid_out() -> None:
    assert shown(("image/svg+xml", SVG), ("text/html", "<b onclick=x>x</b>")) == [
        {"image/svg+xml": SVG},
        {"text/html": "<b>x</b>"},
    ]


def test_what_cannot_be_shown_so_is_shown_by_its_source() -> None:
    """HTML in which nothing is left to see, an SVG that is none, and Markdown, whose links lead elsewhere."""
    assert shown(("text/html", "<img src=x>"), ("image/svg+xml", "<svg>"), ("text/markdown", "![x](y)")) == [
        {"text/plain": "[text/html]\n<img src=x>"},
        {"text/plain": "[image/svg+xml]\n<svg>"},
        {"text/plain": "[text/markdown]\n![x](y)"},
    ]


def test_html_beyond_what_a_page_lays_out_is_shown_by_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "LAID_OUT_CHARS_MAX", 20)
    assert [*map(list, shown(*[("text/html", "<b>x</b>")] * 3))] == [["text/html"], ["text/html"], ["text/plain"]]


@pytest.mark.parametrize(
    ("cells", "chars"), [(made.CELLS_MAX + 1, 0), (2, made.CHARS_MAX // 2 + 1)], ids=["cells", "characters"]
)
def test_of_a_notebook_that_is_too_long_there_is_no_page_and_it_is_said_what_there_is(cells: int, chars: int) -> None:
    """nbconvert did not come to its end within minutes."""
    cell = {"cell_type": "code", "source": "x" * chars, "metadata": {}, "outputs": []}
    with pytest.raises(InvalidInput) as refused:
        made.page_of({"cells": [cell] * cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    assert f"{cells:,} cells" in refused.value.message
    assert "--export" in (refused.value.next_step or "")
