"""The page of a notebook loads nothing and runs nothing. nbconvert's own part is tried in the lab's environment."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.notebook.writing.page import META, without_scripts

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
