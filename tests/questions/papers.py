"""Ten questions to Debian's documentation below /usr/share/doc, answered a second way by find and grep.

No question depends on a package: what is asked for, and the expectation, are taken from what there is. It takes one
paper at least, and in one of them a line of ten words, as every licence has.
"""

from __future__ import annotations

import gzip
import random
import re
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final

from tests.questions.asking import Passage, Question, find, grep_all, passage

ROOT: Final = Path("/usr/share/doc")
HISTORIES: Final = 40
"""Files that are compressed, of those that there are."""


def paths() -> tuple[str, ...]:
    """Also a machine that keeps no documentation keeps its packages' copyrights."""
    return ("**/copyright", *histories())


def names() -> list[str]:
    """The same files, as find has them."""
    return sorted([*copyrights(), *histories()])


def exclude() -> list[str]:
    """What the pattern finds beside them: links, and papers in another encoding, which grep reads as bytes."""
    return [f"/{one}" for one in sorted({*find(ROOT, "-name", "copyright", kinds="f,l")} - {*copyrights()})]


@cache
def copyrights() -> tuple[str, ...]:
    """Of all packages."""
    return tuple(filter(_is_plain, find(ROOT, "-name", "copyright") if ROOT.is_dir() else []))


@cache
def histories() -> tuple[str, ...]:
    """Of the first packages that have one."""
    return tuple(islice(filter(_is_plain, find(ROOT, "-name", "changelog.Debian.gz")), HISTORIES))


def questions(documents: list[str]) -> list[Question]:
    """Of which three have no answer."""
    papers = [one for one in documents if one.endswith("copyright")]
    return [*_of_words(papers), *_of_sizes(papers, documents), *_without_an_answer(papers)]


def _of_words(papers: list[str]) -> list[Question]:
    links = grep_all("https://", ROOT, papers)
    gpl = grep_all("^License: (GPL|LGPL|AGPL)-[0-9.]+", ROOT, papers)
    warranty = grep_all("warranty", ROOT, papers, "-oi")
    years = grep_all(r"Copyright (\(C\) |: )?(19|20)[0-9]{2}", ROOT, papers)
    common = "/usr/share/common-licenses/"
    lists = grep_all(re.escape(common), ROOT, papers)
    return [
        Question(
            "In how many lines of which papers is a link, and which is the first?",
            r"""
hits = search(r"https://[^\n]*", regex=True, docs="*copyright", limit=None)
where = sorted(hits, key=lambda hit: (hit.doc, hit.line))[:1]
value = [len(hits), len({hit.doc for hit in hits}), [[hit.doc, hit.line] for hit in where]]
""",
            [sum(map(len, links.values())), len(links), _first(links)],
            _of(links, min(links, default=None)),
        ),
        Question(
            "Which paper names licences of GNU most often, and how many lines do so?",
            r"""
counts = count(r"^License: (?:GPL|LGPL|AGPL)-[0-9.]+", regex=True, docs="*copyright")
most = min(counts, key=lambda doc: (-counts[doc], doc), default=None)
where = search(r"^License: (?:GPL|LGPL|AGPL)-[0-9.]+", regex=True, docs=most, limit=1) if most else []
value = [most, counts.total]
""",
            [_most(gpl), sum(map(len, gpl.values()))],
            _of(gpl, _most(gpl)),
        ),
        Question(
            "How often is a warranty spoken of, in small or large letters, and where first?",
            r"""
counts = count("warranty", ignore_case=True, docs="*copyright")
where = search("warranty", ignore_case=True, docs=min(counts), limit=1) if counts else []
value = [counts.total, len(counts), [[hit.doc, hit.line] for hit in where]]
""",
            [sum(map(len, warranty.values())), len(warranty), _first(warranty)],
            _of(warranty, min(warranty, default=None)),
        ),
        Question(
            "Which papers have a copyright of a year of the last or of this century?",
            r"""
hits = search(r"Copyright (?:\(C\) |: )?(19|20)[0-9]{2}", regex=True, docs="*copyright", limit=None)
value = sorted({hit.doc for hit in hits})
where = sorted(hits, key=lambda hit: (hit.doc, hit.line))[:1]
""",
            sorted(years),
            _of(years, min(years, default=None)),
        ),
        Question(
            "How many papers point to the common licences?",
            rf"""
value = len(count({common!r}, docs="*copyright"))
where = sorted(search({common!r}, docs="*copyright", limit=None), key=lambda hit: (hit.doc, hit.line))[:1]
""",
            len(lists),
            _of(lists, min(lists, default=None)),
        ),
    ]


def _of_sizes(papers: list[str], documents: list[str]) -> list[Question]:
    ends = {name: _data(name).count(b"\n") for name in papers}
    longest = min(papers, key=lambda name: (-ends[name], name))
    raw = _data(longest)
    number = ends[longest] // 2 + 1
    history = [name for name in documents if name.endswith(".gz")]
    urgent = {name: _data(name).count(b"urgency=high") for name in history}
    return [
        Question(
            "Which paper has most lines, and what stands in the middle of it?",
            r"""
counts = count("\n", docs="*copyright")
most = min(counts, key=lambda doc: (-counts[doc], doc))
where = [lines(counts[most] // 2 + 1, counts[most] // 2 + 9, doc=most)]
value = [most, counts[most], look(most).lines]
""",
            [longest, ends[longest], ends[longest] + (not raw.endswith(b"\n"))],
            _line(longest, number),
        ),
        Question(
            "How many papers and histories are there, and how often was something urgent?",
            r"""
value = [sum(not path.endswith('/') for path, _, _ in tree(9)), look().documents]
value.append(count("urgency=high", docs="*.gz").total if any(one.endswith(".gz") for one in documents) else 0)
where = [lines(1, doc=min(documents))]
""",
            [len(documents), len(documents), sum(urgent.values())],
            _line(min(documents), 1),
        ),
    ]


def _without_an_answer(papers: list[str]) -> list[Question]:
    """A line of a paper with two words exchanged, a licence that nobody gives, and a passage of two papers."""
    rng = random.Random("papers")
    found = grep_all("^ *([A-Za-z,]+ ){9,}[a-z]+$", ROOT, papers)
    rows = [(one, number, line) for one in papers for number, line in found.get(one, [])[:5]][:2_000]
    rng.shuffle(rows)
    asked = (
        (doc, number, line)
        for doc, number, line in rows
        if _data(doc).count(line.encode()) == 1 and not grep_all(exchanged_in(line), ROOT, papers, "-F")
    )
    doc, number, line = next(asked, ("", 0, ""))
    assert doc, "no paper has a line of ten words that stands there once"
    exchanged, doc_said = exchanged_in(line), f"docs={doc!r}, limit=1"
    return [
        Question(
            "Does any paper say this? (With two of its words the other way round, it does.)",
            f"found = quote({exchanged!r})\nvalue = found and found.doc\nwhere = search({line!r}, {doc_said})",
            None,
            Passage(doc, number, line),
            exchanged,
        ),
        Question(
            "Which package is under the licence Klingon-9.9?",
            "value, where = count('License: Klingon-9.9').total, []",
            0,
            None,
            "License: Klingon-9.9 and later",
        ),
        Question(
            "Is a copyright from a year that is to come?",
            r"value, where = count(r'Copyright (?:\(C\) )?2[2-9][0-9]{2}\b', regex=True, docs='*copyright').total, []",
            sum(map(len, grep_all(r"Copyright (\(C\) )?2[2-9][0-9]{2}\b", ROOT, papers, "-oE").values())),
            None,
            "Copyright (C) 2299 by nobody of this world",
        ),
    ]


def exchanged_in(line: str) -> str:
    """A line with two of its words the other way round."""
    words = line.split()
    at = next(at for at in range(2, len(words) - 1) if words[at] != words[at - 1])
    return " ".join([*words[: at - 1], words[at], words[at - 1], *words[at + 1 :]])


def _most(found: dict[str, list[tuple[int, str]]]) -> str | None:
    return min(found, key=lambda name: (-len(found[name]), name), default=None)


def _of(found: dict[str, list[tuple[int, str]]], name: str | None) -> Passage | None:
    return None if name is None else _line(name, found[name][0][0])


def _first(found: dict[str, list[tuple[int, str]]]) -> list[list[object]]:
    return [[name, found[name][0][0]] for name in sorted(found)[:1]]


def _line(name: str, number: int) -> Passage:
    return passage(name, number, _data(name))


def _data(name: str) -> bytes:
    raw = (ROOT / name).read_bytes()
    return gzip.decompress(raw) if name.endswith(".gz") else raw


def _is_plain(name: str) -> bool:
    """Whether it is a text, and one in UTF-8 without a mark."""
    try:
        text = _data(name).decode()
    except UnicodeDecodeError:
        return False
    return text[:1] not in ("", "\ufeff") and "\0" not in text
