"""Ten questions to a corpus that is made of a seed, whose answers are known since they were put there.

A log with CRLF, one that is compressed, lines of JSON with bad ones among them, CSV in latin-1, notes in UTF-8, a text
in UTF-16: in most of them stands what looks like an answer and is none.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.questions.asking import Passage, Question, grep

LOG_LINES: Final = 180_000
NOTES: Final = 6_000
RECORDS: Final = 30_000
NAMES: Final = ("Zoë Brandt", "Zoe Brandt", "José Núñez", "Ida Müller", "Ole Hansen", "Ana Sá")
WORDS: Final = "orders stock market harbour rain table engine river letter winter garden bridge copper window".split()  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Planted:
    """What stands where."""

    root: Path
    refused: int
    """The line of the payment that was refused."""
    paid: float
    """By Zoë Brandt, in records that can be read."""
    bad: int
    heading: str
    chapter: int
    """The line of the heading, and of the sentence below it."""
    wide: int
    """The character of the word in the UTF-16 text."""


def make(root: Path) -> Planted:
    """Write all of it, always the same."""
    rng = random.Random("mixed")
    refused = _log(root, rng)
    paid, bad = _records(root, rng)
    _people(root)
    heading, chapter = _notes(root, rng)
    wide = "".join(f"Größe {number} ✓ naïve 日本\n" for number in range(4_000))
    place = len(wide)
    wide += "the Straße of Köln has the number 4711 ✓\n" + wide[::-1]
    (root / "wide.txt").write_bytes(codecs.BOM_UTF16_LE + wide.encode("utf-16-le"))
    return Planted(root, refused, paid, bad, heading, chapter, place)


def questions(planted: Planted) -> list[Question]:
    """Of which four have no answer."""
    return [*_with_an_answer(planted), *_without_an_answer(planted)]


def _log(root: Path, rng: random.Random) -> int:
    rows = [
        f"2026-11-{rng.randrange(1, 29):02} {rng.choice(('INFO', 'WARN', 'ERROR'))} node{rng.randrange(64)} "
        f"payment {rng.randrange(10**6):06} of {rng.choice(WORDS)} took {rng.randrange(900)} ms"
        for _ in range(LOG_LINES)
    ]
    refused = LOG_LINES // 2 + 17
    rows[refused - 1] = "2026-11-14 ERROR node7 E-4711 payment 000173 refused: the card had expired"
    rows[refused + 900] = "2026-11-14 ERROR node7 E-4712 payment 000174 refused: the card was unknown"
    (root / "app.log").write_bytes("".join(f"{row}\r\n" for row in rows).encode())
    old = "".join(f"{row.replace('2026', '2025')}\n" for row in rows[:20_000]) + "the last line of the old log, E-0815"
    (root / "old.log.gz").write_bytes(gzip.compress(old.encode(), mtime=0))
    return refused


def _records(root: Path, rng: random.Random) -> tuple[float, int]:
    rows, paid, bad = [], 0.0, 0
    for number in range(RECORDS):
        name, cents = rng.choice(NAMES), rng.randrange(1, 10_000)
        row = json.dumps({"id": number, "name": name, "paid": cents / 4}, ensure_ascii=number % 2 == 0)
        if number % 7_000 == 5_000:
            row, bad = row[:-4], bad + 1
        elif name == NAMES[0]:
            paid += cents / 4
        rows.append(row)
    (root / "records.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return paid, bad


def _people(root: Path) -> None:
    made = io.StringIO()
    writer = csv.writer(made)
    writer.writerow(["id", "name", "note"])
    writer.writerows((number, NAMES[number % 6], f'a "note",\nof {number} £') for number in range(2_000))
    (root / "people.csv").write_bytes(made.getvalue().encode("latin-1"))


def _notes(root: Path, rng: random.Random) -> tuple[str, int]:
    parts, lines, chapter, heading = [], 0, 0, ""
    for number in range(NOTES):
        text = "\n".join(" ".join(rng.choices(WORDS, k=12)) for _ in range(6))
        if number == NOTES * 2 // 3:
            heading, chapter = f"## Chapter {number} ☕", lines + 1
            text = "The quetzal ledger\nnames the  harvest of 1987\nas the best of all. " + text
        parts.append(f"## Chapter {number} ☕\n\n{text}\n\n")
        lines += parts[-1].count("\n")
    (root / "notes.md").write_text("".join(parts), encoding="utf-8")
    return heading, chapter


def _with_an_answer(planted: Planted) -> list[Question]:
    root = planted.root
    log, old = root / "app.log", gzip.decompress((root / "old.log.gz").read_bytes()).decode()
    errors = grep(r"ERROR node7 .* of harbour took [0-9]{3} ms", log)
    wide = "the Straße of Köln has the number 4711 ✓"
    ledger = "The quetzal ledger names the harvest of 1987 as the best"
    person = next(csv.DictReader(io.StringIO((root / "people.csv").read_bytes().decode("latin-1"))))
    first = next(number for number, _ in grep(r'"Zo\\u00eb Brandt"|"Zoë Brandt"', root / "records.jsonl"))
    return [
        Question(
            "Which payment did E-4711 refuse, and in which line?",
            "where = search('E-4711')\nvalue = [where[0].lines().text.split()[5], where[0].line, where.total]",
            ["000173", planted.refused, 1],
            Passage("app.log", planted.refused, grep("E-4711", log)[0][1].rstrip("\r")),
        ),
        Question(
            "How often had node 7 an error of the harbour that took from 100 ms on?",
            r"""
where = search(r"ERROR node7 .* of harbour took [0-9]{3} ms", regex=True, docs="app.log", limit=1)
value = count(r"ERROR node7 .* of harbour took [0-9]{3} ms", regex=True, docs="app.log").total
""",
            len(errors),
            Passage("app.log", errors[0][0], errors[0][1].rstrip("\r")),
        ),
        Question(
            "How much did Zoë Brandt pay, and how many records cannot be read?",
            r"""
found = [one for one in records("records.jsonl")]
value = [sum(one["paid"] for one in found if isinstance(one, dict) and one["name"] == "Zoë Brandt"),
         sum(not isinstance(one, dict) for one in found), records("people.csv")[0]["name"]]
where = [min(search(['"Zo\\u00eb Brandt"', '"Zoë Brandt"'], docs="records.jsonl", limit=9), key=lambda hit: hit.line)]
""",
            [planted.paid, planted.bad, person["name"]],
            Passage("records.jsonl", first, (root / "records.jsonl").read_text().split("\n")[first - 1]),
        ),
        Question(
            "Below which heading does the quetzal stand, and what does its ledger name?",
            rf"""
best = rank("quetzal ledger harvest", k=1)[0]
place = quote({ledger!r})
heading = search(r"^## .*", regex=True, docs=span(0, place.chars[0], doc="notes.md"), limit=None)[-1]
value, where = [best.doc, best.start <= place.start < best.end, heading.text], [place, heading]
""",
            ["notes.md", True, planted.heading],
            Passage("notes.md", planted.chapter + 2, ledger),
        ),
        Question(
            "At which character and byte of the text in UTF-16 does the street of Köln stand?",
            f"where = search({wide!r})\nvalue = [*where[0].chars, where[0].bytes[0], where[0].line]",
            [planted.wide, planted.wide + len(wide), 2 + 2 * planted.wide, 4_001],
            Passage("wide.txt", 4_001, wide),
        ),
        Question(
            "What does the old log end with?",
            "where = [lines(-1, doc='old.log.gz')]\nvalue = [where[0].line, where[0].text, look('old.log.gz').lines]",
            [old.count("\n") + 1, old.rpartition("\n")[2], old.count("\n") + 1],
            Passage("old.log.gz", old.count("\n") + 1, old.rpartition("\n")[2]),
        ),
    ]


def _without_an_answer(planted: Planted) -> list[Question]:
    log = planted.root / "app.log"
    refused = grep("E-4711", log)[0][1].rstrip("\r")
    other = grep("E-4712", log)
    return [
        Question(
            "Did E-4711 refuse payment 000174? (E-4712 did.)",
            r"where = search('E-4712')\nvalue = count(r'E-4711 payment 000174\b', regex=True).total".replace(
                "\\n", "\n"
            ),
            0,
            Passage("app.log", other[0][0], other[0][1].rstrip("\r")),
            refused.replace("000173", "000174"),
        ),
        Question(
            "Does the ledger name the harvest of 1978?",
            "found = quote('names the harvest of 1978 as the best of all')\nvalue, where = found and found.doc, []",
            None,
            None,
            "The quetzal ledger names the harvest of 1978 as the best",
        ),
        Question(
            "Is there a record of Zoé Brandt? (There is one of Zoë, and of Zoe.)",
            "value, where = [one for one in records('records.jsonl') if 'Zoé' in str(one)], []",
            [],
            None,
            '"name": "Zoé Brandt", "paid"',
        ),
        Question(
            "Had the old log an error of E-4711?",
            "value, where = count('E-4711', docs='old.log.gz').total, []",
            0,
            None,
            "the last line of the old log, E-4711",
        ),
    ]
