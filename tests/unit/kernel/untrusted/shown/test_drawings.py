"""An SVG is shown as a picture where it is one, and where a browser that draws it comes to its end."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.kernel.untrusted.shown.drawings import DEPTH_MAX, can_be_drawn

HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/x.dtd">\n'
PLOT = (
    f'{HEAD}<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="4pt" xmlns="http://www.w3.org/2000/svg"><defs>'
    '<style type="text/css">*{stroke-linejoin: round}</style></defs><!-- a <b> --><g id="figure_1"><defs>'
    '<path id="m1" d="M 0 0"/></defs><g clip-path="url(#p1)"><use xlink:href="#m1" x="1" style="stroke: #000000"/>'
    '<use xlink:href="#m1" x="2"/></g></g><defs><clipPath id="p1"><rect width="1"/></clipPath></defs></svg>\n'
)


def of(inner: str) -> str:
    return f"<svg xmlns='http://www.w3.org/2000/svg'>{inner}</svg>"


def laughs(refers: str, levels: int = 30) -> str:
    """Each level is the one before it, twice."""
    groups = "".join(f"<g id='n{n + 1}'>{refers.format(f'n{n}') * 2}</g>" for n in range(levels))
    return of(f"<path id='n0'/>{groups}")


def test_a_plot_of_matplotlib_s_is_a_picture() -> None:
    assert can_be_drawn(PLOT)


def test_one_whose_parts_run_code_or_name_other_machines_is_one_too() -> None:
    """In an image nothing of that acts."""
    assert can_be_drawn(of("<script>alert(1)</script><image href='http://evil.example/a.png' onload='alert(2)'/>"))


def test_one_with_pixels_in_it_is_a_picture() -> None:
    """As matplotlib draws an image."""
    assert can_be_drawn(of("<image xlink:href='data:image/png;base64,\niVBORw0KGgo=' width='4'/>"))


@pytest.mark.parametrize(
    "svg",
    [
        laughs("<use href='#{}'/>"),
        laughs("<use xlink:href='#{}'/>"),
        laughs("<use href='&#35;{}'/>"),
        laughs("<use href='%23{}'/>"),
        laughs("<rect fill='url(#{})'/>"),
        laughs("<rect style='fill: u\\72l(#{})'/>"),
        laughs("<set attributeName='href' to='#{}'/>"),
        of("<use id='a' href='#a'/>"),
        of("<g id='a'><use href='#b'/></g><g id='b'><use href='#a'/></g>"),
        of("<g id='a b'/><use href='#a%20b'/>"),
        of("<style>g { fill: url(#a) }</style>"),
        of("<style><![CDATA[g { fill: u\\72l(#a) }]]></style>"),
        laughs("<rect fill='url(\\23 {})'/>"),
        laughs("<rect style='fill: url(\\000023{})'/>"),
        of("<style>g { fill: u<!-- -->rl(#a) }</style>"),
        of("<style>g { fill: ur<![CDATA[l(#a) }]]></style>"),
        of("<style>g { fill: u<a/>rl(#a) }</style>"),
        of("<style>g { fill: &#117;rl(#a) }</style>"),
        of("<style>svg { background: -webkit-IMAGE-set('x' 1x) }</style>"),
        of("<image href='data:image/svg+xml;base64,PHN2Zz4='/>"),
        of("<image href=' da\nta:image/svg+xml,%3Csvg/%3E'/>"),
        of("<a style='background: image-set(\"DATA:text/html,x\" 1x)'/>"),
        f"<!DOCTYPE svg [<!ENTITY a 'aaaa'>]>{of('&a;')}",
        of("<g>" * (DEPTH_MAX + 1)),
        of("<g id='many'>" + "<a/>" * 1_000 + "</g>" + "<use href='#many'/>" * 1_000),
    ],
    ids=[
        "use", "xlink", "entity", "percent", "fill", "css", "set", "itself", "each-other", "odd-name", "style", "cdata",
        "escaped-fill", "escaped-style", "comment", "part-cdata", "part-element", "reference", "image-set",
        "svg-in-it", "broken-data", "style-data",
        "entities", "deep", "many",
    ],
)  # fmt: skip
def test_what_could_be_drawn_without_end_is_none(svg: str) -> None:
    assert not can_be_drawn(svg)


@pytest.mark.parametrize(
    "text",
    ["", "text", "<b>x</b>", "<svg>", "<svg/><svg/>", of("</svg>"), of("<g></a>"), of("1 < 2"), "<svg a='<'/>"],
    ids=["empty", "text", "html", "open", "two", "ended", "other", "stray", "in-value"],
)
def test_what_is_no_svg_is_none(text: str) -> None:
    assert not can_be_drawn(text)
