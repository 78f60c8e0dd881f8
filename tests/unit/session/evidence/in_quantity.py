"""Quotes in quantity: invented, exact, with other white space, misspelled; and of a source that changes meanwhile.

`bin/soak evidence --count 10000 --seed 0`. Is: the host's own check, over a file of seeded lines. Is not: a session or
a kernel (`tests/questions`, `tests/kernel/explore`).

Of the quotes, none that was invented may be verified: its words are put together anew of lines of the source itself, or
it is a line with a word or a character more, less or another. All that is there has to be, and 95 of 100 with one to
three typing errors have to be located. Then a tenth as many quotes are checked again and again, and at another read of
the file each time it is truncated, overwritten, replaced or removed: the check ends, what passes was there before or is
there now, and what does not says that the file has changed.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.session.contexts.contexts import ContextList
from rlm_kernel_mcp.session.evidence.citations import Citation, Quote
from rlm_kernel_mcp.session.evidence.sought import Limits
from tests.unit.session.evidence.changing import STILL_FILES, Reads, removed, versions, what_is_wrong
from tests.unit.session.evidence.sources import PATIENT, checked, contexts_of, files

COUNT: Final = 10_000
TOGETHER: Final = 1_000
"""Quotes in one check: an answer has no more."""
LINES: Final = 30_000
LINES_CHANGED: Final = 10_000
"""Of the file that changes: it is written anew for each read."""
LOCATED: Final = 0.95
NEAR_CHARS: Final = 24
"""So far from where it was taken a passage may begin and be the one."""
WINDOW: Final = (64 << 10) + 4
"""A read of more bytes is one of a window, and something befalls the file at each of them."""
COUNT_A_PASSAGE: Final = 300
"""Other reads, of passages, are as many as the quotes, and it does at one of them for so many quotes of each kind."""
NOT_NEAREST: Final = Limits(nearest_s=0)
"""Where it is not asked what is like a quote: that takes as long as all the rest."""
SYLLABLES: Final = "ka mi lo ter van sel po ri dun ha ge stra nov pel qui zor be tan fu li".split()  # noqa: SIM905
LETTERS: Final = "abcdefghijklmnopqrstuvwxyzäöü0123456789"


@dataclass(slots=True)
class Source:
    """A file, what is in it, and the contexts of a session that has loaded it."""

    root: Path
    rng: random.Random
    count: int = LINES
    lines: list[str] = field(default_factory=list)
    text: str = ""
    flat: str = ""
    """Its words, a space between them."""

    def __post_init__(self) -> None:
        vocabulary = ["".join(self.rng.choices(SYLLABLES, k=self.rng.randint(1, 4))) for _ in range(3_000)]
        for number in range(self.count):
            words = self.rng.choices(vocabulary, k=self.rng.randint(5, 14))
            if number % 3 == 0:
                words.insert(self.rng.randrange(len(words)), f"{self.rng.randrange(10**7):,}")
            self.lines.append(" ".join(words) + self.rng.choice((".", "", " ✓", ";", " — Größe")))
        self.text = "".join(line + self.rng.choice(("\n", "\n", "\r\n", "\n\n")) for line in self.lines)
        self.flat = " ".join(self.text.split())

    def contexts(self) -> ContextList:
        """Write the file and load it."""
        (self.root / "a.txt").unlink(missing_ok=True)
        return contexts_of(self.root, files(self.root, a=self.text.encode()))

    def is_there(self, quote: str) -> bool:
        """By plain Python, whatever its white space."""
        return " ".join(quote.split()) in self.flat

    def line(self) -> str:
        """Any of them that is long enough to be evidence."""
        return next(line for line in iter(lambda: self.rng.choice(self.lines), "") if len(line) > 40)

    def invented(self) -> str:
        """What stands nowhere, of what does."""
        make = self.rng.choice((self._recombined, self._word_changed, self._character_changed, self._joined))
        return next(quote for quote in iter(make, "") if not self.is_there(quote) and len(quote) > 20)

    def spaced(self) -> str:
        """Two lines, with other white space between their words."""
        at = self.rng.randrange(self.count - 1)
        words = " ".join(self.lines[at : at + 2]).split()
        return "".join(word + self.rng.choice((" ", "  ", "\n", "\t", " \r\n ", "\u2003")) for word in words).strip()

    def misspelled(self) -> tuple[str, str]:
        """A line with one to three typing errors, none of them at its ends, and the line."""
        while True:
            line = quote = self.line()
            for _ in range(self.rng.randint(1, 3)):
                at = self.rng.randrange(3, len(quote) - 3)
                letter = self.rng.choice(LETTERS)
                quote = quote[:at] + self.rng.choice(("", letter, letter + quote[at])) + quote[at + 1 :]
            if not self.is_there(quote):
                return quote, line

    def _recombined(self) -> str:
        words = [word for _ in range(4) for word in self.line().split()]
        return " ".join(self.rng.sample(words, self.rng.randint(6, 12)))

    def _word_changed(self) -> str:
        words, others = self.line().split(), self.line().split()
        at = self.rng.randrange(1, len(words) - 1)
        words[at : at + self.rng.randint(0, 1)] = self.rng.sample(others, self.rng.randint(0, 1))
        return " ".join(words)

    def _character_changed(self) -> str:
        line = self.line()
        at = self.rng.randrange(len(line))
        return line[:at] + self.rng.choice(LETTERS) + line[at + 1 :]

    def _joined(self) -> str:
        """The half of one line and the half of another."""
        first, second = self.line().split(), self.line().split()
        return " ".join([*first[: len(first) // 2 + 1], *second[len(second) // 2 :]])


def cited(contexts: ContextList, quotes: Sequence[str], limits: Limits | None = None) -> Iterator[Citation]:
    """Of all of them, as many at a time as an answer may have."""
    for begin in range(0, len(quotes), TOGETHER):
        yield from checked(contexts, *quotes[begin : begin + TOGETHER], limits=limits).citations


def invented(source: Source, count: int, problems: list[str]) -> Counter[str]:
    """None of these is verified."""
    quotes = [source.invented() for _ in range(count)]
    found = list(cited(source.contexts(), quotes, NOT_NEAREST))
    problems += [f"invented, and {one.status}: {text!r}" for one, text in zip(found, quotes, strict=True) if one.passes]
    return Counter(one.status for one in found)


def exact(source: Source, count: int, problems: list[str]) -> Counter[str]:
    """All of these are verified; `matches` is how often each is there."""
    quotes = list[str]()
    while len(quotes) < count:
        at = source.rng.randrange(len(source.text) - 400)
        quote = source.text[at : at + source.rng.randrange(30, 400)]
        if len(" ".join(quote.split())) >= 20:
            quotes.append(quote)
    found = list(cited(source.contexts(), quotes))
    for one, text in zip(found, quotes, strict=True):
        passage = one.passage
        is_right = passage is not None and source.text[passage.start_char : passage.end_char] == text
        if one.status != "verified" or not is_right or one.matches != source.text.count(text):
            problems.append(f"there, and {one.status}, {one.matches} times: {text!r}")
    return Counter(one.status for one in found)


def spaced(source: Source, count: int, problems: list[str]) -> Counter[str]:
    """All of these pass, at a place with the same words."""
    quotes = [source.spaced() for _ in range(count)]
    found = list(cited(source.contexts(), quotes))
    for one, text in zip(found, quotes, strict=True):
        passage = one.passage
        if passage is None or source.text[passage.start_char : passage.end_char].split() != text.split():
            problems.append(f"there with other white space, and {one.status}: {text!r}")
    return Counter(one.status for one in found)


def misspelled(source: Source, count: int, problems: list[str]) -> Counter[str]:
    """None of these passes, and nearly all are located."""
    pairs = [source.misspelled() for _ in range(count)]
    ends: Counter[str] = Counter()
    found = cited(source.contexts(), [quote for quote, _ in pairs], PATIENT)
    for one, (quote, line) in zip(found, pairs, strict=True):
        if one.passes:
            problems.append(f"misspelled, and {one.status}: {quote!r}")
        near = one.nearest.passage.start_char if one.nearest is not None else -1
        is_found = one.nearest is not None and line in source.text[max(0, near - NEAR_CHARS) : near + 2 * len(line)]
        ends["located" if is_found else "elsewhere" if one.nearest is not None else "not found"] += 1
    if ends["located"] < LOCATED * count:
        problems.append(f"of {count:,} misspelled only {ends['located']:,} located")
    return ends


def changed(source: Source, count: int, problems: list[str]) -> Counter[str]:
    """A check of some quotes, as often as it has reads of windows, and of some of its other reads."""
    quotes = [
        Quote(source.line() if number % 10 else source.invented()) for number in range(min(TOGETHER, count // 10))
    ]
    path, ends = source.root / "a.txt", Counter[str]()
    contexts = source.contexts()
    with Reads().counted() as reads:
        checked(contexts, *quotes, limits=NOT_NEAREST)
    windows = [at for at, size in enumerate(reads.sizes) if size > WINDOW]
    others = [at for at, size in enumerate(reads.sizes) if size <= WINDOW]
    places = sorted({*windows, *others[:: max(1, len(others) * COUNT_A_PASSAGE // count)]})
    for fate in (*STILL_FILES, removed):
        for at in places:
            contexts = source.contexts()
            with Reads(fate, path, at).counted():
                result = checked(contexts, *quotes, limits=NOT_NEAREST)
            contents = versions(source.text.encode(), path)
            wrong = [what_is_wrong(one, quote, contents) for one, quote in zip(result.citations, quotes, strict=True)]
            problems += [f"{fate.__name__} at read {at}: {one}" for one in wrong if one is not None]
            untold = [one for one in result.failed if one.status != "changed" and source.is_there(one.given)]
            problems += [f"{fate.__name__} at read {at}: {one.id} is {one.status}, and was there" for one in untold]
            ends[fate.__name__] += 1
            ends["changed"] += sum(one.status == "changed" for one in result.citations)
            ends["verified"] += sum(one.passes for one in result.citations)
    return ends


PARTS: Final[dict[str, Callable[[Source, int, list[str]], Counter[str]]]] = {
    one.__name__: one for one in (invented, exact, spaced, misspelled, changed)
}


def main(argv: Sequence[str]) -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bin/soak evidence", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: all of {', '.join(PARTS)}")
    parser.add_argument("--count", type=int, default=COUNT, help=f"quotes of each kind (default {COUNT:,})")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rlm-evidence-") as directory:
        root = Path(directory, "root")
        root.mkdir()
        for name in options.parts or PARTS:
            began, before = time.process_time(), len(problems)
            source = Source(
                root, random.Random(f"{options.seed} {name}"), LINES_CHANGED if name == "changed" else LINES
            )
            ends = PARTS[name](source, options.count, problems)
            took = time.process_time() - began
            said = ", ".join(f"{count:,} {what}" for what, count in ends.most_common())
            print(f"{name}: {said}; wrong: {len(problems) - before}; {took:.0f} s of processor", flush=True)
    for problem in problems[:20]:
        print(problem)
    print(json.dumps({"soak": "evidence", "seed": options.seed, "count": options.count, "wrong": len(problems)}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
