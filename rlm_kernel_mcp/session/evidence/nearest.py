"""The passage most similar to a quote that was not found: reported so that it can be corrected, and never evidence.

Is: pieces of the quote that are rare in the sources (the pass of `quotes.py` finds where they occur), and aligning the
text around some of those places with the quote. Is not: a reason to let anything pass. Blocking; each call that
holds the interpreter is short. Above: `check.py`. Below: rapidfuzz, imported at first use, and `sought.py`.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.context.loader.index import Changed
from rlm_kernel_mcp.session.evidence.citations import Nearest, Passage
from rlm_kernel_mcp.session.evidence.documents import Documents
from rlm_kernel_mcp.session.evidence.keys import Needle, Needles, counts
from rlm_kernel_mcp.session.evidence.sought import Hit, Limits, PartPlace, Sought
from rlm_kernel_mcp.session.evidence.streams import char_in_block

SEEDS: Final = 6
"""Pieces of a quote; one to three typing errors leave some of them intact."""
SEED_BYTES: Final = ((96, 12), (32, 8), (0, 6))
"""The size of a piece in bytes, for quotes of at least this many bytes."""
TRIED: Final = 64
"""Positions in a quote that are tried for its pieces."""
COMMON: Final = 300
"""A piece that occurs more often, judged by the sample, is of no use; if all do, the rarest are taken."""
PLACES_MAX: Final = 2_000
"""Places of one piece, after which it is given up."""
PLACES_TOGETHER: Final = 150_000
"""Places of all pieces of all quotes at a time, of about 300 bytes each; what is common has to keep fewer then."""
WINDOWS_MAX: Final = 200
"""Places at which a quote is aligned with the text."""
BUCKET: Final = 64
SLACK_CHARS: Final = 32
WHOLE_CHARS: Final = 256
"""The two ends of a longer quote are aligned separately, so that no call holds the interpreter lock for long."""
END_CHARS: Final = 128
END_SLACK: Final = 8
NEAR: Final = 0.7
"""The similarity from which on a passage is reported."""
SURE: Final = 0.9
SURE_CHARS: Final = 6
"""A passage that is at least as similar, and differs from the quote by no more characters that one of them lacks (which
three typing errors make), is the nearest: no pieces are looked for."""
_WORD: Final = re.compile(r"\S+")


@dataclass(slots=True)
class Seeds:
    """The pieces of some quotes."""

    all_sought: Sequence[Sought]
    _owners: list[tuple[int, int]] = field(default_factory=list)
    """For each piece the number of its quote, and its offset in the quote's bytes without white space."""
    _found: Counter[int] = field(default_factory=Counter)
    _kept: int = 0
    """How many places of pieces are kept."""
    _most: int = PLACES_MAX
    """How many one piece may keep."""
    _spent_s: float = 0.0
    """How long passages were aligned."""

    def needles(self, sample: Sequence[bytes], scale: float) -> list[Needle]:
        """The rarest pieces of each quote, judged by a sample; the sources are `scale` times as large."""
        bare = ["".join(one.quote.text.split()).encode("utf-8", "surrogatepass") for one in self.all_sought]
        tried = [_offsets(one) for one in bare]
        pieces = {one[at : at + size] for one, (size, places) in zip(bare, tried, strict=True) for at in places}
        often = counts(pieces, sample)
        made = []
        for number, (one, (size, places)) in enumerate(zip(bare, tried, strict=True)):
            if _is_near(self.all_sought[number]):
                continue
            by_count = sorted(places, key=lambda at: often[one[at : at + size]])
            chosen: list[int] = []
            for at in by_count:
                is_common = often[one[at : at + size]] * scale > COMMON and len(chosen) >= 2
                if not is_common and len(chosen) < SEEDS:
                    chosen.append(at)
            for at in chosen:
                self._owners.append((number, at))
                made.append(Needle(one[at : at + size], -len(self._owners)))
        return made

    def take(self, hit: Hit, needles: Needles) -> None:
        """Record a piece that was found."""
        needle = hit.needle
        number, offset = self._owners[-needle.owner - 1]
        if self.all_sought[number].found is not None:  # with other white space, in this same pass
            needles.done(needle)
        if needle.is_done or not self.all_sought[number].is_in(hit.listed):
            return
        self._found[needle.owner] += 1
        if self._found[needle.owner] > self._most:
            needles.done(needle)
            return
        if self._kept >= PLACES_TOGETHER:
            self._make_room()
        self.all_sought[number].places.append(hit.place(0, offset))
        self._kept += 1

    def _make_room(self) -> None:
        """Halve what one piece may keep, until half of the room is free: a rare piece loses nothing by that."""
        while self._kept > PLACES_TOGETHER // 2:
            self._most //= 2
            self._kept = 0
            for sought in self.all_sought:
                seen: Counter[int] = Counter()
                first = list[PartPlace]()
                for place in sought.places:
                    seen[place.offset] += 1
                    if seen[place.offset] <= self._most:
                        first.append(place)
                sought.places = first
                self._kept += len(first)

    def align_keys(self, documents: Documents, limits: Limits) -> None:
        """Look at the places of the keys, before the pieces are looked for: a quote that is near one needs none."""
        with self._within(limits) as end_s:
            for sought in self.all_sought:
                for place in sought.places:
                    limits.check_cancelled()
                    if time.monotonic() >= end_s:
                        sought.near_unknown = sought.nearest is None
                        break
                    _align(documents, sought, place)
                sought.places.clear()

    def align(self, documents: Documents, limits: Limits) -> None:
        """Find the nearest passage for each quote that was not found, within the time limit."""
        with self._within(limits) as end_s:
            self._align_pieces(documents, limits, end_s)

    @contextmanager
    def _within(self, limits: Limits) -> Iterator[float]:
        """The time at which no more passages are aligned."""
        begin_s = time.monotonic()
        yield begin_s + limits.nearest_s - self._spent_s
        self._spent_s += time.monotonic() - begin_s

    def _align_pieces(self, documents: Documents, limits: Limits, end_s: float) -> None:
        for sought in self.all_sought:
            if sought.found is not None:
                continue
            for count, places in enumerate(_likeliest(sought.places)):
                limits.check_cancelled()
                if time.monotonic() >= end_s:
                    sought.near_unknown = sought.nearest is None
                    break
                if count >= WINDOWS_MAX or (sought.nearest is not None and len(places) == 1 and count > 8):
                    break
                _align(documents, sought, places[0])


def _offsets(data: bytes) -> tuple[int, list[int]]:
    """Pieces that do not overlap: an error spoils one of them, so of more than three some survive three errors."""
    size = next(size for least, size in SEED_BYTES if len(data) >= least)
    count = max(1, min(TRIED, len(data) // size))
    return size, [(len(data) - size) * n // max(1, count - 1) for n in range(count)]


def _is_near(sought: Sought) -> bool:
    """Whether the nearest passage that is known differs by no more than a few typing errors."""
    if sought.nearest is None or sought.nearest.similarity < SURE:
        return False
    return (1 - sought.nearest.similarity) * 2 * len(sought.quote.text) <= SURE_CHARS


def _likeliest(places: list[PartPlace]) -> list[list[PartPlace]]:
    """Places grouped by the beginning of the quote that they imply, the largest groups first."""
    groups: dict[tuple[str, int, int], list[PartPlace]] = {}
    for place in places:
        # Insertions and deletions move the pieces of one passage against each other, hence buckets and not equality.
        key = place.listed.context, place.listed.number, place.begin // BUCKET
        before = groups.get((*key[:2], key[2] - 1))
        groups.setdefault(key, []).append(place)
        if before is not None:
            groups[key].extend(before[:1])
    return sorted(groups.values(), key=len, reverse=True)


def _align(documents: Documents, sought: Sought, place: PartPlace) -> None:
    words = " ".join(sought.quote.text.split())
    with documents.open(place.listed) as document:
        if document is None:
            return
        try:
            at, _ = char_in_block(document, place.unit, place.behind, spaces=place.spaces, edge=None)
            slack = SLACK_CHARS + len(words) // 4
            begin = at - _chars_before(words, place.offset)
            low, high = max(0, begin - slack), min(document.chars, begin + len(words) + slack)
            text = document.text(document.at_char(low), document.at_char(high))
            found = aligned(words, text)
            if found is None or (sought.nearest is not None and found[2] <= sought.nearest.similarity):
                return
            start, end, similarity = found
            passage: Passage = document.passage(low + start, low + end)[0]
        except (Changed, IndexError):
            return
        sought.nearest = Nearest(passage, similarity)


def _chars_before(words: str, offset: int) -> int:
    """How many characters of a text come before this many bytes of it, white space not counted."""
    seen = 0
    for number, char in enumerate(words):
        seen += 0 if char == " " else len(char.encode("utf-8", "surrogatepass"))
        if seen > offset:
            return number
    return len(words)


def aligned(words: str, text: str) -> tuple[int, int, float] | None:
    """The part of a text that is most similar to some words, and its similarity; None if nothing is similar.

    `words` have single spaces between them; in the text white space counts as one.
    """
    from rapidfuzz.distance import Indel

    tokens = [(one.start(), one.end()) for one in _WORD.finditer(text)]
    if not tokens:
        return None
    squeezed = " ".join(text[start:end] for start, end in tokens)
    found = _ends(words, squeezed)
    if found is None:
        return None
    low, high = found
    # A part must not begin or end with a space, which may stand for any white space of the text.
    part = squeezed[low:high]
    low, high = low + len(part) - len(part.lstrip()), high - (len(part) - len(part.rstrip()))
    if low >= high:
        return None
    similarity = Indel.normalized_similarity(words, squeezed[low:high])
    if similarity < NEAR:
        return None
    places: list[int] = []
    for start, end in tokens:
        places.extend(range(start, end))
        places.append(end)
    # Never 1.0: an identical passage would have been found before.
    return places[low], places[high - 1] + 1, min(0.999, round(similarity, 3))


def _ends(words: str, text: str) -> tuple[int, int] | None:
    from rapidfuzz import fuzz
    from rapidfuzz.distance import Indel

    if len(words) > WHOLE_CHARS:
        half = (len(text) + 1) // 2
        head = fuzz.partial_ratio_alignment(words[:END_CHARS], text[:half], score_cutoff=50)
        tail = fuzz.partial_ratio_alignment(words[-END_CHARS:], text[half:], score_cutoff=50)
        if head is None or tail is None:
            return None
        return head.dest_start, half + tail.dest_end
    found = fuzz.partial_ratio_alignment(words, text, score_cutoff=100 * NEAR - 20)
    if found is None:
        return None
    # rapidfuzz returns a part as long as the words; a typing error may have moved either end.
    low, high = found.dest_start, found.dest_end
    starts = range(max(0, low - END_SLACK), min(low + END_SLACK, high - 1) + 1)
    low = max(starts, key=lambda at: Indel.normalized_similarity(words, text[at:high]), default=low)
    ends = range(max(low + 1, high - END_SLACK), min(len(text), high + END_SLACK) + 1)
    high = max(ends, key=lambda at: Indel.normalized_similarity(words, text[low:at]), default=high)
    # Where the words have more than the passage, it took in as much of what stands beside it.
    common = [one for one in Indel.opcodes(words, text[low:high]) if one.tag == "equal"]
    if not common:
        return None
    first, last = common[0], common[-1]
    spare = high - low - last.dest_end - (len(words) - last.src_end)
    return low + max(0, first.dest_start - first.src_start), high - max(0, spare)
