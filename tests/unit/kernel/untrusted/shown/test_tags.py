"""Of HTML that anybody has written is left what lays text out, at a cost of its length."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.kernel.untrusted.shown.tags import DEPTH_MAX, STRAY, Tag, only_laid_out, pieces

TABLE = (
    "<style scoped>.dataframe tbody { color: red }</style>\n<table border='1' class=\"dataframe\"><thead><tr>"
    "<th></th><th colspan=2>a &lt; b</th></tr></thead><tr><td>1</td><td rowspan='3'>x<br/>y</td></tr></table>"
)


def test_a_table_stays_a_table_without_its_style() -> None:
    assert only_laid_out(TABLE) == (
        '\n<table><thead><tr><th></th><th colspan="2">a &lt; b</th></tr></thead><tr><td>1</td><td rowspan="3">x<br>y'
        "</td></tr></table>"
    )


@pytest.mark.parametrize(
    ("markup", "left"),
    [
        ("<b onclick=alert(1) style='position:fixed' id=x class=jp-Cell>b</b>", "<b>b</b>"),
        ("<a href='javascript:alert(1)'>link</a>", "link"),
        ("<img src=http://evil.example/a.png onerror=alert(1)>", ""),
        ("<script>alert('<b>1</b>')</script>after", "after"),
        ("<SCRIPT>alert(1)</sCrIpT >after", "after"),
        ("<script>alert(1)", ""),
        ("<svg><script>1</script><text>x</text></svg>after", "after"),
        ("<!-- <b>x</b> -->after<!-- rest", "after"),
        ("<iframe srcdoc='x>y'><b>z</b></iframe>after", "after"),
        ("<iframe srcdoc='<b>x</b>'>", "&lt;iframe srcdoc=&#x27;<b>x</b>&#x27;&gt;"),
        ("</div></div></main>after", "after"),
        ("<b><i>x</b>y</i>", "<b><i>x</i></b>y"),
        ("<ul><li>x", "<ul><li>x</li></ul>"),
        ("a < b &amp;&lt;c", "a &lt; b &amp;&lt;c"),
        ("&lt;script&gt;", "&lt;script&gt;"),
        ("<td colspan=999><th rowspan=2>x", '<td><th rowspan="2">x</th></td>'),
        ("<td colspan='2\" onclick=\"x'>x", "<td>x</td>"),
        ("&#27;x&#x202e;y\x1b[31m", "x\\u202ey\\x1b[31m"),
        ("<![CDATA[x<b>]]>y", "x&lt;b&gt;y"),
    ],
)
def test_nothing_that_acts_or_leads_elsewhere_is_left(markup: str, left: str) -> None:
    assert only_laid_out(markup) == left


def test_tags_that_lie_too_deep_are_left_out_and_their_text_stays() -> None:
    made = only_laid_out("<div>" * 10_000 + "x")
    assert made == "<div>" * DEPTH_MAX + "x" + "</div>" * DEPTH_MAX


@pytest.mark.parametrize("markup", ["<", "<b '", "<!--", "a" * 9, "<a" + " x" * 9 + "=", "</", "<?", "&"])
def test_a_text_without_sense_costs_what_its_length_does(markup: str) -> None:
    """It ends: one that went over the rest of the text at each of these would take minutes."""
    assert isinstance(only_laid_out(markup * 30_000), str)


def test_what_is_no_tag_is_text() -> None:
    found = [*pieces("<svg a='1>2' b=\"&amp;\"/>x<1<![CDATA[<y>]]></svg>")]
    assert found == [
        Tag("svg", (("a", "1>2"), ("b", "&")), is_closed=True), "x", STRAY, "1", "<y>", Tag("svg", is_end=True)
    ]  # fmt: skip
