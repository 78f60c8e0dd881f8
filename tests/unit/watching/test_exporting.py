"""A session as one file: what its policy allows, and that no text in it can leave its place."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from rlm_kernel_mcp.watching.exporting import STATIC, exported, joined

HOSTILE = "</script><script>alert(1)</script><!-- <script> \u2028 \ud800"
MESSAGES = [{"type": "head", "id": "s", "title": HOSTILE}, {"type": "end", "status": "finalized"}]


def hashed(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_policy_allows_the_page_s_own_script_and_style_and_no_others() -> None:
    page = exported(MESSAGES)
    policy = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    assert len(policy) == 1
    assert f"script-src 'sha256-{hashed(script)}';" in policy[0]
    assert f"style-src 'sha256-{hashed(style)}';" in policy[0]
    assert policy[0].startswith("default-src 'none';")
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert "src=" not in page.replace(script, "").replace(style, "")


def test_no_text_of_a_session_ends_the_element_that_it_stands_in() -> None:
    page = exported(MESSAGES)
    (data,) = re.findall(r'<script type="application/json" id="export">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data) == MESSAGES
    assert "<" not in data
    assert page.count("<script") == 2
    assert page.isascii() or "\u2028" not in page


def test_each_module_is_in_it_once_after_those_that_it_imports() -> None:
    script = joined(STATIC)
    begun = re.findall(r"^const (module_\w+) = \(\(\) => \{$", script, re.MULTILINE)
    assert len(begun) == len({*begun}) == len([*STATIC.rglob("*.js")])
    for place, name in enumerate(begun):
        body = script.split(f"const {name} = ")[1].split("\n})();\n")[0]
        assert {*re.findall(r"= (module_\w+);", body)} <= {*begun[:place]}
    assert re.search(r"^(?:import|export) ", script, re.MULTILINE) is None
