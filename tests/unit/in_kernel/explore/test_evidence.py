"""`cite` and `quote`: claims of places. Whether they hold is the host's to say."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable

import pytest

from rlm_kernel_mcp.context_wire import CITED_CHARS_MAX, CLAIM_TEXT_CHARS, CLAIMS_STEP_MAX
from rlm_kernel_mcp.in_kernel.explore import evidence
from rlm_kernel_mcp.in_kernel.explore.evidence import begin_behind, cite, quote, told
from rlm_kernel_mcp.in_kernel.explore.searching import search
from rlm_kernel_mcp.in_kernel.explore.spans import Span, span
from tests.unit.in_kernel.explore.conftest import Load

TEXT = "The quick brown fox\njumps  over\r\n\tthe lazy dog. It was late in November.\n"


@pytest.fixture(autouse=True)
def fresh_kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A kernel that has made no claim; called, another one."""

    def begin() -> None:
        for name, value in {"_cites": {}, "_by_place": {}, "_untold": [], "_last_number": 0}.items():
            monkeypatch.setattr(evidence, name, value)
        told(claims=False)

    begin()
    return begin


def test_a_claim_prints_as_its_mark_and_the_same_place_is_the_same_claim(load: Load) -> None:
    """Of a hit, a span, or two numbers."""
    load({"a": TEXT})
    first, second = cite(search("fox")[0]), cite((4, 9), note="the colour")
    assert (str(first), repr(second), f"as {first} says", first.id) == ("[c1]", "[c2]", "as [c1] says", "c1")
    assert cite(span(16, 19)) is first
    assert second.note == "the colour"
    with pytest.raises(ValueError, match="an empty place is no evidence"):
        cite((3, 3))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("fox", r"not str: cite\(quote\(text\)\) cites the place where a text stands"),
        (None, "not NoneType: where quote finds nothing, quote.nearest is"),
        (["fox"], r"not list: \[cite\(one\) for one in hits\]"),
        (("fox", 3), r"\(start, end\) in characters, not tuple"),
        (3, r"a Hit, a Span, a Chunk or \(start, end\) in characters, not int$"),
    ],
)
def test_an_error_says_what_a_place_is(load: Load, where: object, said: str) -> None:
    """The likely ones, with what gives a place of them; and what is cited is one."""
    load({"a": TEXT})
    with pytest.raises(TypeError, match=said):
        cite(where)  # type: ignore[arg-type]
    made = cite((4, 9))
    assert cite(made) is made


def test_a_claim_is_sent_to_the_host_once_by_its_place_in_its_document(load: Load) -> None:
    """And the hash of the text there, with the beginning of it: of any text."""
    load({"before": "nothing of it\n", "a": TEXT})
    load({"more": "x\ud800" * 200}, first=False, name="more")
    cite(search("fox")[0])
    cite(span(1, 400, "more"))
    assert "claims" not in told(claims=False)
    said = told(claims=True)["claims"]
    digest, long_digest = (
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() for text in ("fox", ("x\ud800" * 200)[1:400])
    )
    assert said == [
        (1, "context", "a", 16, 19, digest, "fox"),
        (2, "more", "more", 1, 400, long_digest, ("?x" * 200)[:CLAIM_TEXT_CHARS]),
    ]
    assert told(claims=True) == {}


def test_a_place_that_no_host_could_check_is_not_cited(load: Load) -> None:
    """Over the border of two documents, or larger than what is read for one citation."""
    load({"a": "one\n", "b": "x" * (CITED_CHARS_MAX + 1)})
    with pytest.raises(ValueError, match="lies in several documents: cite a part of each"):
        cite((2, 6))
    with pytest.raises(ValueError, match="at most 100,000 characters; this has 100,001"):
        cite(span(0, None, "b"))
    assert [str(cite((0, 4))), str(cite((4, 5)))] == ["[c1]", "[c2]"]


def test_a_step_cites_no_more_than_its_reply_can_carry(load: Load) -> None:
    """What it had before is still the same claim; after the reply there is room again."""
    load({"a": "x" * 5_000})
    made = [cite((place, place + 1)) for place in range(CLAIMS_STEP_MAX)]
    with pytest.raises(ValueError, match="a step cites at most 1,000 places"):
        cite((3_000, 3_001))
    assert cite((0, 1)) is made[0]
    assert len(told(claims=True)["claims"]) == CLAIMS_STEP_MAX
    assert str(cite((3_000, 3_001))) == f"[c{CLAIMS_STEP_MAX + 1}]"


def test_a_fresh_kernel_counts_on_behind_what_the_session_s_kernels_have_used(load: Load) -> None:
    """So that a mark never means two places."""
    load({"a": TEXT})
    begin_behind(7)
    begin_behind(0)
    assert str(cite((0, 3))) == "[c8]"


def test_a_claim_that_comes_back_from_a_snapshot_keeps_its_number(load: Load, fresh_kernel: Callable[[], None]) -> None:
    """And no other gets it."""
    load({"a": TEXT})
    cite((0, 3))
    kept = pickle.dumps(cite((4, 9)))
    fresh_kernel()
    again = pickle.loads(kept)
    assert (str(again), again.span.text, str(cite((0, 3)))) == ("[c2]", "quick", "[c3]")


@pytest.mark.parametrize(
    ("passage", "wanted"),
    [
        ("brown fox", "brown fox"),
        ("fox jumps over", "fox\njumps  over"),
        ("  over the lazy ", "over\r\n\tthe lazy"),
        ("The  quick", "The quick"),
        ("late\nin November.", "late in November."),
    ],
)
def test_a_passage_is_found_word_for_word_or_with_other_white_space(load: Load, passage: str, wanted: str) -> None:
    """As a span of the text as it is."""
    load({"before": "nothing of it\n", "a": TEXT})
    found = quote(passage)
    assert isinstance(found, Span)
    assert (found.text, found.doc, quote.nearest) == (wanted, "a", None)  # type: ignore[attr-defined]


def test_a_passage_that_does_not_occur_is_none_and_the_nearest_is_named(load: Load) -> None:
    """A word more or less is another passage; one that is like nothing has no nearest."""
    load({"before": "nothing of it\n", "a": TEXT, "c": "jumps"})
    assert quote("The quick brown cat jumps over the lazy dog") is None
    nearest = quote.nearest  # type: ignore[attr-defined]
    assert nearest.text.startswith("The quick brown")
    assert nearest.text.endswith("the lazy dog")
    assert quote("fox jumped over") is None
    assert quote("wholly invented sentences about pelicans") is None
    assert quote.nearest is None  # type: ignore[attr-defined]
    assert quote("November. jumps") is None  # not from one document into the next
    with pytest.raises(ValueError, match="a passage has words"):
        quote(" \n")
