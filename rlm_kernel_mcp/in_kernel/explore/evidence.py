"""`cite` and `quote`: the places of the texts that an answer rests on.

Is: claims: a number for the answer to mention, and the place that it stands for. Is not: a check of one: the host does
that, against the bytes of the source. Above: `in_kernel/namespace/`. Below: `spans.py`, `sources.py`,
`explore/matching/`.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from rlm_kernel_mcp.context_wire import (
    CITED_CHARS_MAX,
    CLAIM_TEXT_CHARS,
    CLAIMS_MAX,
    CLAIMS_STEP_MAX,
    SHOWN_MAX,
    Claim,
    Shown,
    Used,
)
from rlm_kernel_mcp.in_kernel.explore.matching.literals import Literals
from rlm_kernel_mcp.in_kernel.explore.sources import Source, stretches
from rlm_kernel_mcp.in_kernel.explore.spans import Span, spanned
from rlm_kernel_mcp.in_kernel.explore.usage import opened, spans, take, used, went_over

NOTE_CHARS: Final = 500
TOLD_CHARS: Final = 500_000
"""Characters of the claims in one reply; the rest comes with the next one."""
QUOTE_CHARS: Final = 20_000
SPACE_CHARS: Final = 2_000
"""How much more white space than the quote the text may have before one of its words."""
SEEDS: Final = 3
PLACES_MAX: Final = 200
"""Places of each of the `SEEDS` longest words of a quote that are tried for the nearest passage."""
LOOKED_AT: Final = 20
NEAR: Final = 0.5
"""The similarity from which on a passage is reported as the nearest."""


class Cite:
    """A claim: that the answer rests on this place. It prints as `[c3]`; put that into the final answer."""

    __slots__ = ("note", "number", "span")

    def __init__(self, number: int, where: Span, note: str | None) -> None:
        self.number, self.span, self.note = number, where, note

    @property
    def id(self) -> str:
        """Its name in the answer, without the brackets."""
        return f"c{self.number}"

    def __str__(self) -> str:
        return f"[{self.id}]"

    __repr__ = __str__

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Its number and its place, which mean the same in a fresh kernel."""
        return _cite_again, (self.number, self.span, self.note)


_cites: dict[int, Cite] = {}
_by_place: dict[tuple[str, int, int, str | None], Cite] = {}
_untold: list[Cite] = []
"""Those that have not been sent to the host yet."""
_last_number = 0


def begin_behind(number: int) -> None:
    """Number claims after this one: the session's earlier kernels have used the numbers so far (decision 0106)."""
    global _last_number  # noqa: PLW0603  (one kernel, one session)
    _last_number = max(_last_number, number)


def told(*, claims: bool) -> Used:
    """What the reply to a step says about the functions. `claims`: only a reply to the host carries the claims."""
    said = take()
    if (spans or opened) and (shown := _shown()):
        said["shown"] = shown
    if claims and _untold:
        said["claims"], left = [], TOLD_CHARS
        while _untold and len(said["claims"]) < CLAIMS_STEP_MAX and left > 0:
            row = _row(_untold.pop(0))
            said["claims"].append(row)
            left -= len(row.context) + len(row.document) + len(row.sha256) + len(row.text)
    return said


def _shown() -> list[Shown]:
    """The places whose texts were taken since the last time, the last ones first, each once.

    Of copies: a thread of the session's may go on, and take others meanwhile.
    """
    places, documents = reversed(list(spans)), reversed(list(opened))
    parts = [Span(*one) if isinstance(one, tuple) else one for one in places]
    taken = [(one.context, one.doc, *one.chars) for one in parts]
    taken += [(context, document, 0, min(chars, CITED_CHARS_MAX)) for context, document, chars in documents]
    spans.clear()
    opened.clear()
    return list(dict.fromkeys(row for row in taken if 0 <= row[2] < row[3] <= row[2] + CITED_CHARS_MAX))[:SHOWN_MAX]


def _row(one: Cite) -> Claim:
    place, text = one.span, one.span._text
    sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    # The message is JSON in UTF-8, which has no lone surrogates.
    shown = text[:CLAIM_TEXT_CHARS].encode("utf-8", "replace").decode()
    return Claim(one.number, place.context, place.doc, *place.chars, sha256, shown)


def cite(where: Span | Cite | tuple[int, int], note: str | None = None) -> Cite:
    """Claim that the answer rests on a place: a Hit, Span or Chunk, or (start, end) of the first context.

    Returns:
        A Cite, which prints as [c3]. Put these marks into the answer: rlm_finalize checks each against the source.
    """
    used("cite")
    place = _place(where)
    _check(place)
    note = None if note is None else note[:NOTE_CHARS]
    key = place.context, place.start, place.end, note
    # The same place and note are the same claim, so a loop that cites again uses up no numbers.
    if key in _by_place:
        return _by_place[key]
    if len(_cites) >= CLAIMS_MAX or len(_untold) >= CLAIMS_STEP_MAX:
        raise ValueError(
            f"a step cites at most {CLAIMS_STEP_MAX:,} places, and a session {CLAIMS_MAX:,}: cite what the answer names"
        )
    made = _keep(Cite(_last_number + 1, place, note))
    _untold.append(made)
    return made


def _place(where: object) -> Span:
    if isinstance(where, Span):
        return where
    if isinstance(where, Cite):
        return where.span
    if isinstance(where, tuple) and list(map(type, where)) == [int, int]:
        return spanned(*where)
    said = f"cite takes a Hit, a Span, a Chunk or (start, end) in characters, not {type(where).__name__}"
    if where is None:
        said += ": where quote finds nothing, quote.nearest is the passage most like it"
    elif isinstance(where, str):
        said += ": cite(quote(text)) cites the place where a text stands"
    elif isinstance(where, Iterable):
        said += ": [cite(one) for one in hits] cites each of several"
    raise TypeError(said)


def _check(place: Span) -> None:
    if not len(place):
        raise ValueError("an empty place is no evidence: give one with characters in it")
    if len(place) > CITED_CHARS_MAX:
        raise ValueError(f"a place has at most {CITED_CHARS_MAX:,} characters; this has {len(place):,}: cite a part")
    source = place._source
    if source.index_at(place.start) != source.index_at(place.end - 1):
        raise ValueError("this place lies in several documents: cite a part of each")


def _keep(made: Cite) -> Cite:
    place = made.span
    _cites[made.number] = _by_place[place.context, place.start, place.end, made.note] = made
    begin_behind(made.number)
    return made


def _cite_again(number: int, where: Span, note: str | None) -> Cite:
    """A claim of an earlier kernel. The host got it then, and keeps its meaning, so it is not sent again."""
    return _cites.get(number) or _keep(Cite(number, where, note))


def quote(text: str, docs: object = None) -> Span | None:
    """Where a passage occurs: word for word, or else with different white space; None if it does not.

    `quote.nearest` is then the most similar passage (a Span), or None. `docs`: as in `search`.
    """
    used("quote")
    words = text.split()
    if not words or len(text) > QUOTE_CHARS:
        raise ValueError(f"a passage has words, and at most {QUOTE_CHARS:,} characters; this has {len(text):,}")
    found = next(_places(text, docs), None) or next(_other_spaces(words, docs), None)
    vars(quote)["nearest"] = None if found is not None else _nearest(text, docs)
    return found


vars(quote)["nearest"] = None


def _places(word: str, docs: object) -> Iterator[Span]:
    matcher = Literals([word])
    for part in stretches(docs):
        for start, end in part.pieces(apart=True):
            reached = start
            try:
                for spans in matcher.find(part.source.subject, start, end):
                    for first, last in spans:
                        reached = last
                        yield Span(part.source, first, last)
                reached = end
            finally:  # also if the caller stops iterating early
                went_over("searched", part.source.name, start, reached)


def _other_spaces(words: list[str], docs: object) -> Iterator[Span]:
    """Places of the same words with different white space between them, found by way of the longest word."""
    longest = max(range(len(words)), key=lambda index: len(words[index]))
    spaced = [r"\s+".join(map(re.escape, part)) for part in (words[:longest], words[longest:])]
    before, after = re.compile(rf"{spaced[0]}\s+\Z"), re.compile(spaced[1])
    back = sum(map(len, words[:longest])) + SPACE_CHARS
    for place in _places(words[longest], docs):
        source, start = place._source, place.start
        first, last = source.document(source.index_at(start))
        follows = after.match(source.text, start, last)
        low = max(first, start - back)
        precedes = before.search(source.text[low:start]) if longest else None
        if follows is not None and (precedes is not None or not longest):
            yield Span(source, start if precedes is None else low + precedes.start(), follows.end())


def _nearest(text: str, docs: object) -> Span | None:
    # Compare only around the rarest words (the longest ones, roughly): difflib takes quadratic time.
    seeds = sorted(set(re.findall(r"\w{4,}", text)), key=lambda word: (-len(word), word))[:SEEDS]
    words, around = set(re.findall(r"\w+", text)), len(text) // 5 + 20
    candidates: dict[tuple[int, int], tuple[int, Source, int, int]] = {}
    for seed in seeds:
        for place in islice(_places(seed, docs), PLACES_MAX):
            source, at = place._source, place.start - text.index(seed)
            first, last = source.document(source.index_at(place.start))
            low, high = max(first, at - around), min(last, at + len(text) + around)
            shared = len(words & set(re.findall(r"\w+", source.text[low:high])))
            candidates[id(source), low // max(1, around)] = shared, source, low, high
    best, found = NEAR, None
    for _, source, low, high in sorted(candidates.values(), key=lambda one: -one[0])[:LOOKED_AT]:
        matcher = difflib.SequenceMatcher(None, source.text[low:high], text, autojunk=False)
        blocks = [block for block in matcher.get_matching_blocks() if block.size > 1]
        if blocks:
            start, end = low + blocks[0].a, low + blocks[-1].a + blocks[-1].size
            likeness = 2 * sum(block.size for block in blocks) / (len(text) + end - start)
            if likeness > best:
                best, found = likeness, Span(source, start, end)
    return found
