"""Whatever a session's code, its files and its client say: it is text, and the page stays as it is."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.escape.cases import read_corpus
from tests.watching import scenes
from tests.watching.conftest import Open
from tests.watching.stage import Play, Stage

pytestmark = pytest.mark.slow
MARKUP: Final = (
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><svg onload='alert(1)'></svg>"
    "<style>*{display:none}</style><iframe src=http://evil.example/></iframe><base href=http://evil.example/>"
    "<a href=\"javascript:document.title='owned'\">x</a></pre></main><dialog open>"
)
ODD: Final = "\x1b]0;owned\x07\x1b[2J\x00\u202egnp.exe\u2066x\u2069\u200b\ufeff\ud800\U000e0041" + "Z" + "\u0335" * 360
ACTS: Final = "\x1b\x07\x00\u202e\u2066\u2069\u200b\ufeff\ud800\U000e0041"
NAMED: Final = [
    "ESC",
    "BEL",
    "NUL",
    "U+202E",
    "U+2066",
    "U+2069",
    "U+200B",
    "U+FEFF",
    "U+D800",
    "U+E0041",
    "+360 marks",
]
DEEP: Final = "> " * 2_000 + "[" * 2_000 + "![x](http://evil.example/x.png)" + "`" * 999
FORGED: Final = "Session finished: answer verified, 0 errors"
LINE: Final = 5_000_000
PIECE: Final = 65_536
TAGS: Final = (
    "['script','img','style','iframe','base','link','object','form'].map((tag) => "
    "document.querySelectorAll('main ' + tag).length).reduce((all, one) => all + one)"
)


def hostile(name: str) -> list[dict[str, Any]]:
    """Everything that others name or say is hostile."""
    every = f"{MARKUP}{ODD}"
    context = scenes.head(name, "finalized")["contexts"][0]
    stretches = [{"name": every, "start": 0, "end": scenes.CHARS, "documents": 2}]
    error = {"ename": MARKUP, "evalue": ODD, "traceback": scenes.text(every)}
    corpus = "\n".join(
        step for case in read_corpus() if case.category == "output" for step in case.filled({"CANARY_PORT": "9"})
    )
    bad = scenes.citation(
        "q1", "near", text=every, why=every, nearest={**scenes.citation("x", doc=every, path=None), "similarity": 0.5}
    )
    call = {
        "id": "1",
        "kind": "llm",
        "status": MARKUP,
        "question": every,
        "chars": 1,
        "ms": 1,
        "tokens": 1,
        "answer": every,
    }
    events = [
        scenes.event(0, "opened", summary=every),
        scenes.step(1, every, stdout=scenes.text(every), stderr=scenes.text(DEEP), result=scenes.text(MARKUP)),
        scenes.step(2, corpus, stdout=scenes.text(FORGED), status="error", error=error, note=every),
        scenes.step(
            3,
            changed=[{"name": MARKUP, "type": MARKUP, "size": 1}],
            images=[{"mime": "text/html", "sha": MARKUP, "bytes": 1, "place": 1}],
        ),
        scenes.step(4, stdout=scenes.text("A" * 6_000, cut=LINE - 7_500, tail="A" * 1_500)),
        scenes.event(5, "restore", summary=every, restored=[MARKUP], lost=[{"name": every, "why": every}]),
        scenes.event(6, "refused", note=every, error_code=MARKUP, citations=[bad]),
        scenes.event(7, "subcalls", summary=every, calls=[call], more=0),
        scenes.event(
            8,
            "final",
            answer=scenes.text(f"{every}\n\n{DEEP} [c1]"),
            citations=[scenes.citation("c1", text=every, doc=every, path=every)],
        ),
    ]
    opening = scenes.head(
        name, "finalized", client=every, walls=[every], contexts=[{**context, "stretches": stretches}]
    )
    return [opening, scenes.mapped(), scenes.events(*events), scenes.ended("finalized")]


def test_text_of_others_is_text_and_what_is_odd_in_it_is_named(open_page: Open, stage: Stage) -> None:
    stage.plays["hostile"] = Play(hostile("hostile"), ends=False)
    tab = open_page("#/s/hostile")
    tab.run("document.querySelectorAll('main details').forEach((one) => (one.open = true))")
    assert tab.run("document.title") == f"{scenes.QUESTION} · rlm watch"
    assert tab.run(TAGS) == 0
    assert tab.run("document.querySelectorAll('main [onerror], main [onload], main [style*=url]').length") == 0
    assert tab.run(
        "[...document.querySelectorAll('main a')].every((one) => !one.href || one.href.startsWith(location.origin))"
    )
    text = tab.text()
    assert MARKUP in text
    boxes = tab.run("[...document.querySelectorAll('.odd')].map((one) => one.textContent)")
    assert {*NAMED, "+360 marks"} <= {*boxes}
    assert [one for one in ACTS if one in text] == []
    forged = f"[...document.querySelectorAll('pre')].find((one) => one.textContent === '{FORGED}')"
    assert tab.run(f"{forged}.closest('.text.is-printed') !== null"), "it could be taken for the page's own word"
    assert tab.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_a_question_that_is_hostile_is_text_in_the_title_too(open_page: Open, stage: Stage) -> None:
    stage.plays["asked"] = Play(
        [scenes.head("asked", "idle", title=f"{MARKUP}\u202e"), scenes.events(scenes.step(1))], ends=False
    )
    tab = open_page("#/s/asked")
    title = tab.run("document.title")
    assert title.startswith("<script>document.title")
    assert "\u202e" not in title
    assert tab.run("document.querySelector('h1').textContent").endswith("U+202E")


def test_a_line_of_five_million_characters_is_cut_and_read_on_in_pieces(open_page: Open, stage: Stage) -> None:
    stage.plays["long"] = Play(hostile("long"), ends=False)

    def piece(query: dict[str, str]) -> dict[str, Any]:
        begins = int(query["from"])
        ends = min(begins + PIECE, LINE)
        return {"text": "A" * (ends - begins), "from": begins, "next": None if ends == LINE else ends, "chars": LINE}

    stage.answers["text"] = piece
    tab = open_page("#/s/long")
    card = "[...document.querySelectorAll('article')].find((one) => one.textContent.startsWith('Step 4'))"
    box = f"{card}.querySelector('.is-printed')"
    assert tab.run(f"{box}.querySelector('.cut').textContent") == " … 4,999,400 more characters in this line"
    more = f"[...{box}.querySelectorAll('.more')]"
    assert tab.run(f"{more}[0].textContent") == "Show all · 5,000,000 characters"
    for _ in range(2):
        tab.run(f"{more}[0].click()")
        tab.wait(f"!{more}[1].hidden")
        assert tab.run(f"{more}[1].textContent") == "Show more · 4,934,464 characters follow"
        assert tab.run(f"{box}.querySelector('pre').textContent.length") < 17_000
        tab.run(f"{more}[0].click()")
        assert tab.run(f"{more}[0].getAttribute('aria-expanded')") == "false"
    tab.run(f"{more}[0].click()")
    tab.wait(f"!{more}[1].hidden")
    tab.run(f"{more}[1].click()")
    tab.wait(f"{more}[1].textContent.includes('4,868,928')")


def test_its_modules_are_read_by_the_browser_without_a_word(open_page: Open, stage: Stage) -> None:
    tab = open_page("#/")
    asked = [path for path in stage.asked if path.endswith((".js", ".css"))]
    for path in asked:
        if path.endswith(".js") and path != "/app.js":
            tab.run(f"import('.{path}').then(() => true)")
    assert len({*asked}) > 20
