"""The page of a notebook loads nothing and runs nothing. nbconvert's own part is tried in the lab's environment."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.notebook.writing.page import META, with_texts_displayed, without_scripts

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


def test_html_of_a_step_is_shown_by_its_source() -> None:
    """A picture or a link in it would ask another machine, and a frame could look as the page does."""
    displays = [{"type": "text/html", "place": 1, "text": "<b>x</b>"}]
    step = {"cell_type": "code", "metadata": {"rlm": {"displays": displays}}, "outputs": []}
    other = {"cell_type": "markdown", "metadata": {"rlm": {"role": "event"}}, "source": "x"}
    shown, same = with_texts_displayed({"cells": [step, other], "nbformat": 4})["cells"]
    assert [one["data"] for one in shown["outputs"]] == [{"text/plain": "[text/html]\n<b>x</b>"}]
    assert (step["outputs"], same) == ([], other)
