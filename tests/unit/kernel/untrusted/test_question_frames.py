"""What a kernel asks is read frame by frame: bytes in any pieces, and an end for whatever is no frame."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.kernel.untrusted.question_frames import (
    Ask,
    BudgetAsked,
    Cancel,
    ForecastAsked,
    Frame,
    FramesBroken,
    Item,
    Looked,
    Missed,
    QuestionReader,
    Wishes,
)
from rlm_kernel_mcp.questions_wire import (
    BATCH_MAX,
    FRAME_BYTES_MAX,
    FRAME_ITEMS_MAX,
    ID_MAX,
    REPAIR_CHARS_MAX,
    SCHEMA_CHARS_MAX,
    digest_of,
)

OPTS = {"batch": 1}
PLAIN = Wishes(1, None, None, fresh=False)


def frame(said: object) -> bytes:
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    return len(data).to_bytes(4, "big") + data


def read(*parts: bytes) -> list[Frame]:
    reader, found = QuestionReader(), list[Frame]()
    for part in parts:
        reader.feed(part)
        while (one := reader.next_frame()) is not None:
            found.append(one)
    return found


def ask(*items: list[Any], **opts: Any) -> dict[str, Any]:
    return {"ask": {"step": "s", "opts": {**OPTS, **opts}, "items": items}}


def item(number: int, prompt: str, text: str | None, repair: str | None = None) -> Item:
    return Item(number, prompt, text, repair, sys.getsizeof(prompt) + sys.getsizeof(text))


def test_every_kind_of_frame_is_read() -> None:
    """With what is left out of the wishes as not wanted."""
    digest = digest_of("p", "t")
    assert read(
        frame(ask([1, "p", None], [2, "p", "t\xe9", "it was no number"], schema="{}", model="m", fresh=True)),
        frame({"cancel": [1]}),
        frame({"missed": {"id": 3, "of": [2, 2]}}),
        frame({"budget": 4}),
        frame({"forecast": {"id": 5, "step": "s", "opts": OPTS, "items": [[digest, 2]]}}),
        frame(ask([6, "", ""])),
        frame({"ask": {**ask([7, "p", None])["ask"], "more": True}}),
        frame(ask([8, "p", None], kind="rlm")),
        frame(ask([9, "p", None], kind="llm")),
        frame(ask([10, "f", "what it is called with"], kind="function")),
        frame({"looked": [8, None]}),
        frame({"looked": [8, "$: 'x' is not of type 'integer'"]}),
    ) == [
        Ask(
            "s",
            Wishes(1, "{}", "m", fresh=True),
            (item(1, "p", None), item(2, "p", "t\xe9", "it was no number")),
        ),
        Cancel((1,)),
        Missed(3, (2, 2)),
        BudgetAsked(4),
        ForecastAsked(5, "s", PLAIN, ((digest, 2),)),
        Ask("s", PLAIN, (item(6, "", ""),)),
        Ask("s", PLAIN, (item(7, "p", None),), more=True),
        Ask("s", PLAIN._replace(kind="rlm"), (item(8, "p", None),)),
        Ask("s", PLAIN, (item(9, "p", None),)),
        Ask("s", PLAIN._replace(kind="function"), (item(10, "f", "what it is called with"),)),
        Looked(8, None),
        Looked(8, "$: 'x' is not of type 'integer'"),
    ]


@given(st.lists(st.integers(0, 200)))
def test_frames_come_in_any_pieces(cuts: list[int]) -> None:
    """And are the same."""
    data = frame(ask([1, "p", "t"])) + frame({"budget": 2}) + frame({"cancel": [1]})
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in pairwise(places)]
    assert read(*pieces) == read(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_an_end(data: bytes) -> None:
    """And nothing else is ever raised; also where they are announced as one frame."""
    for sent in (data, frame(data)):
        with suppress(FramesBroken):
            read(sent)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(kind=st.sampled_from(["ask", "cancel", "looked", "missed", "budget", "forecast", "other"]), said=JSON)
def test_any_json_is_a_frame_or_an_end(kind: str, said: Any) -> None:
    """The same of what is JSON, under each of the names, and in the place of each part of a question."""
    parts = ask([1, "p", said]), ask([said, "p", None]), ask([1, said, None]), ask([1, "p", None], schema=said)
    for whole in (said, {kind: said}, {"ask": {"step": said, "opts": said, "items": said}}, *parts):
        with suppress(FramesBroken):
            read(frame(whole))


@pytest.mark.parametrize(
    "broken",
    [
        b"\xff" * 1_000,
        frame(b"nope"),
        frame(b"[" * 30_000),
        frame(b'{"budget": ' + b"9" * 5_000 + b"}"),
        frame({"items": 5}),
        frame({}),
        frame({"budget": 1, "cancel": [1]}),
        frame({"budget": 0}),
        frame({"budget": True}),
        frame({"budget": ID_MAX + 1}),
        frame({"cancel": [0]}),
        frame({"cancel": [True]}),
        frame({"cancel": [ID_MAX + 1]}),
        frame({"cancel": []}),
        frame({"looked": 1}),
        frame({"looked": "1x"}),
        frame({"looked": [0, None]}),
        frame({"looked": [True, None]}),
        frame({"looked": [1, "x" * (REPAIR_CHARS_MAX + 1)]}),
        frame({"looked": [1, "\ud800"]}),
        frame({"looked": [1, None, None]}),
        frame({"missed": [1]}),
        frame({"missed": {"id": 1, "of": []}}),
        frame(ask()),
        frame(ask(*([number + 1, "p", None] for number in range(FRAME_ITEMS_MAX + 1)))),
        frame(ask([1, "p", None], [1, "p", None])),
        frame(ask([2, "p", None])) + frame(ask([1, "p", None])),
        frame(ask([1, "p", "\ud800"])),
        frame(ask([1, "p"])),
        frame(ask([1, "p", None], schema="x" * (SCHEMA_CHARS_MAX + 1))),
        frame(ask([1, "p", None], schema={"type": "string"})),
        frame(ask([1, "p", None], fresh=1)),
        frame(ask([1, "p", None], kind="")),
        frame(ask([1, "p", None], kind="LLM")),
        frame(ask([1, "p", None], kind=["llm"])),
        frame(ask([1, "p", None], kind=None)),
        frame(ask([1, "f", None], kind="function")),
        frame(ask([1, "", "{}"], kind="function")),
        frame(ask([1, "a.b", "{}"], kind="function")),
        frame(ask([1, "f" * 65, "{}"], kind="function")),
        frame(ask([1, "f", "{}", "again"], kind="function")),
        frame(ask([1, "f", "{}"], kind="function", schema="{}")),
        frame(ask([1, "f", "{}"], kind="function", model="m")),
        frame(ask([1, "f", "{}"], kind="function", fresh=True)),
        frame(ask([1, "f", {}], kind="function")),
        frame({"forecast": {"id": 1, "step": "s", "opts": OPTS, "items": [["f" * 63, 1]]}}),
        frame({"forecast": {"id": 1, "step": "s", "opts": OPTS, "items": [["F" * 64, 1]]}}),
        frame({"forecast": {"id": 1, "step": "s", "opts": OPTS, "items": [["f" * 64, -1]]}}),
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
    ],
)
def test_what_is_no_frame_ends_the_reading(broken: bytes) -> None:
    """A size alone is enough: the frame need not come."""
    with pytest.raises(FramesBroken):
        read(broken)


@pytest.mark.parametrize("item", [b"[]", b"0", b'{"":0}', b'"x"'])
def test_a_frame_of_very_many_small_items_is_not_even_read(item: bytes) -> None:
    """Wherever they stand: also beside what is looked at, in a frame that is one."""
    ballast = b",".join([item] * 100_000)
    for said in (
        b'{"ask": [' + ballast + b"]}",
        b'{"ask": {"step": "s", "opts": {"batch": 1, "x": [' + ballast + b']}, "items": [[1, "p", null]]}}',
        b'{"budget": 1, "x": [' + ballast + b"]}",
    ):
        with pytest.raises(FramesBroken, match="more than 40,000 items"):
            read(frame(said))


def test_what_honest_code_asks_is_no_crowd_of_items() -> None:
    """The longest forecast and cancel, and a question about a table of commas."""
    sketches = [[digest_of(str(number), None), 400_000] for number in range(BATCH_MAX)]
    (asked,) = read(frame({"forecast": {"id": 1, "step": "s", "opts": OPTS, "items": sketches}}))
    assert isinstance(asked, ForecastAsked)
    assert len(asked.items) == BATCH_MAX
    assert read(frame({"cancel": [*range(1, BATCH_MAX + 1)]})) == [Cancel(tuple(range(1, BATCH_MAX + 1)))]
    table = ',[{"' * 100_000
    assert read(frame(ask([1, "p", table]))) == [Ask("s", PLAIN, (item(1, "p", table),))]


def test_a_question_has_the_size_that_it_takes_here() -> None:
    """Which is four times that of its UTF-8 where one character of a plain text is none of the common ones."""
    (asked,) = read(frame(ask([1, "p", "x" * 1_000 + "\N{GRINNING FACE}"])))
    assert isinstance(asked, Ask)
    assert asked.items[0].size >= 4_000


def test_questions_that_never_came_can_be_cancelled() -> None:
    """An interrupt in the middle of a batch: they have ids, and were not sent. Those that follow have larger ones."""
    assert read(frame({"cancel": [1, 2]}), frame({"budget": 3})) == [Cancel((1, 2)), BudgetAsked(3)]


def test_a_digest_tells_apart_what_is_asked() -> None:
    """Where the prompt ends counts, and a text that is empty is not one that is not there."""
    made = [
        digest_of("ab", "c"),
        digest_of("a", "bc"),
        digest_of("abc", None),
        digest_of("abc", ""),
        digest_of("ab", "d"),
    ]
    assert len(set(made)) == len(made)


def test_the_text_of_a_child_s_question_may_come_later() -> None:
    """What it is said to have counts: whoever does not ask for it refuses it as too large."""
    (asked,) = read(frame(ask([1, "p", None, None, 5_000_000], kind="rlm")))
    assert isinstance(asked, Ask)
    (found,) = asked.items
    assert (found.text, found.coming, found.chars) == (None, 5_000_000, 5_000_001)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        pytest.param([1, "p", None, None, 5_000_000], "llm", id="of-a-model"),
        pytest.param([1, "p", None, None, 5_000_000], "function", id="of-a-function"),
        pytest.param([1, "p", "t", None, 5_000_000], "rlm", id="beside-a-text"),
        pytest.param([1, "p", None, "it was no number", 5_000_000], "rlm", id="once-more"),
        pytest.param([1, "p", None, None, 400_000], "rlm", id="that-fits-a-frame"),
        pytest.param([1, "p", None, None, 64_000_001], "rlm", id="too-long"),
        pytest.param([1, "p", None, None, 5e6], "rlm", id="no-whole-number"),
        pytest.param([1, "p", None, None, True], "rlm", id="a-flag"),
        pytest.param([1, "p", None, None, None], "rlm", id="nothing"),
        pytest.param([1, "p", None, None, 5_000_000, 0], "rlm", id="with-more"),
    ],
)
def test_a_text_that_comes_later_is_only_of_a_child_s_question_and_within_its_bounds(row: list[Any], kind: str) -> None:
    """An honest kernel sends no other."""
    with pytest.raises(FramesBroken):
        read(frame(ask(row, kind=kind)))
