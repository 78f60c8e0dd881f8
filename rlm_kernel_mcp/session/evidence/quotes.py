"""Finds quotes in the sources: word for word, and the others with different white space.

Is: two passes, each over all documents. Is not: the nearest passage, for which the second pass only collects places
(`nearest.py`). Blocking. Above: `check.py`. Below: `sought.py`, `keys.py`, `streams.py`.

White space is what `str.split` splits at. Two texts are equal apart from it if they have the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.session.evidence.documents import Documents, Listed
from rlm_kernel_mcp.session.evidence.keys import Needle, Needles
from rlm_kernel_mcp.session.evidence.sought import Found, Hit, Limits, Sought, hits, passage_at, sample_of
from rlm_kernel_mcp.session.evidence.streams import forms_of, without_spaces

KEYS_ALONE_MAX: Final = 64
"""Places of a quote's key without the rest of it, up to which they are kept: a key that has more is not rare."""
MATCHES_MAX: Final = 1_000
"""Places of a quote up to which they are counted."""
LOOKED_AT_MAX: Final = 200
"""Places of a quote without white space whose words are compared; further ones count without a comparison."""
IN_VAIN_MAX: Final = 10_000
"""Such places without a match, after which a quote is given up: each comparison reads the source."""


def find_exact(
    documents: Documents,
    all_sought: Sequence[Sought],
    limits: Limits,
    more: Sequence[Needle] = (),
    on_more: Callable[[Hit, Needles], None] = lambda hit, needles: None,
) -> None:
    """Look for all quotes verbatim. `more`: further needles for the same pass, with owners below 0."""
    own = [Needle(form, number) for number, one in enumerate(all_sought) for form in forms_of(one.quote.text)]
    sound = [one.quote.text.encode("utf-8", "replace") for one in all_sought]
    """The quote's own bytes if it has no lone surrogates: then a match begins and ends with whole characters."""
    docs = _docs(documents, all_sought, everything=bool(more))
    needles = Needles([*own, *more], sample_of(documents, docs, spaces=True)[0], KEYS_ALONE_MAX)
    _Pass(
        all_sought,
        needles,
        is_it=lambda text, number: text == all_sought[number].quote.text,
        is_sure=lambda needle: needle.data == sound[needle.owner],
        vain_max=LOOKED_AT_MAX,  # half characters, again and again
        on_more=on_more,
    ).over(hits(documents, needles, limits, spaces=True, docs=docs))
    for one in all_sought:
        one.is_exact = one.found is not None
    for needle in own:
        if needle.compared > KEYS_ALONE_MAX or all_sought[needle.owner].is_exact:
            all_sought[needle.owner].places.clear()
    _note_given_up(all_sought, own)


def find_spaced(
    documents: Documents,
    all_sought: Sequence[Sought],
    limits: Limits,
    seeds: Callable[[Sequence[bytes], float], Sequence[Needle]] = lambda sample, scale: (),
    on_seed: Callable[[Hit, Needles], None] = lambda hit, needles: None,
) -> None:
    """Look for all quotes without their white space. `seeds`: makes further needles, with owners below 0."""
    words = [one.quote.text.split() for one in all_sought]
    own = [Needle(form, number) for number, one in enumerate(words) for form in forms_of("".join(one))]
    docs = _docs(documents, all_sought)
    sample, scale = sample_of(documents, docs, spaces=False)
    needles = Needles([*own, *seeds(sample, scale)], sample)
    needles.renumber(sample)
    _Pass(
        all_sought,
        needles,
        is_it=lambda text, number: text.split() == words[number],
        is_sure=lambda needle: all_sought[needle.owner].looked_at >= LOOKED_AT_MAX,
        vain_max=IN_VAIN_MAX,
        on_more=on_seed,
    ).over(hits(documents, needles, limits, spaces=False, docs=docs))
    _note_given_up(all_sought, own)
    for one in all_sought:
        one.is_unchecked |= one.found is None and one.looked_at >= IN_VAIN_MAX


@dataclass(slots=True)
class _Pass:
    """What one pass does with its matches."""

    all_sought: Sequence[Sought]
    needles: Needles
    is_it: Callable[[str, int], bool]
    """Whether a passage's text equals the quote with this number."""
    is_sure: Callable[[Needle], bool]
    """Whether a further match counts without a comparison, once one place was compared."""
    vain_max: int
    """Comparisons of a quote without success, after which it is given up."""
    on_more: Callable[[Hit, Needles], None]

    def over(self, met: Iterable[Hit]) -> None:
        """Process all matches."""
        for hit in met:
            if hit.needle.owner < 0:
                self.on_more(hit, self.needles)
            elif hit.is_whole:
                self._take(hit)
            else:
                self._note_key(hit.needle, hit)

    def _note_key(self, needle: Needle, hit: Hit) -> None:
        sought = self.all_sought[needle.owner]
        if sought.found is None and sought.is_in(hit.listed):
            sought.places.append(hit.place(needle.at, len(without_spaces(needle.data[: needle.at]))))

    def _take(self, hit: Hit) -> None:
        needle, start, stream, listed, _ = hit
        sought = self.all_sought[needle.owner]
        if not sought.is_in(listed):
            return
        if sought.found is None or not self.is_sure(needle):
            sought.looked_at += 1
            found = passage_at(stream.document, stream, start, len(needle.data))
            if found is None or not self.is_it(found[1], needle.owner):
                if sought.looked_at >= self.vain_max:
                    self.needles.done(needle)
                return
            sought.found = sought.found or Found(listed, found[0])
        sought.matches += 1
        if sought.matches >= MATCHES_MAX:
            self.needles.done(needle)


def _note_given_up(all_sought: Sequence[Sought], own: Sequence[Needle]) -> None:
    for needle in own:
        all_sought[needle.owner].is_unchecked |= needle.is_given_up


def _docs(documents: Documents, all_sought: Sequence[Sought], *, everything: bool = False) -> list[Listed]:
    """The documents that have to be searched."""
    listed = documents.listed()
    if everything or any(one.quote.doc is None for one in all_sought):
        return listed
    names = {one.quote.doc for one in all_sought}
    return [one for one in listed if one.name in names or one.context in names]
