"""Published benchmarks, fetched on the user's machine or read from a file, as papers with their own questions.

Is: which rows of which data set are asked, and how a row becomes a task; the choices are those of the paper on RLMs
(arXiv 2512.24601, section 2.1). Is not: a copy of any of them: the data sets have authors and licences of their own
(their cards say which).

- `oolong`: oolongbench/oolong-synth, validation: the tasks of `trec_coarse` at one length (131,072 tokens).
- `pairs`: the same at 32,768 tokens: the 20 conditions over the first text, by the labels that the data set has.
- `longbench`: THUDM/LongBench-v2: its 50 questions about code repositories (CodeQA).
- `ruler`: single needles (S-NIAH): what RULER's own scripts/data/prepare.py has written (`--file`), or by default
  simonjegou/ruler, a copy of others on the hub.
"""

from __future__ import annotations

import importlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.dense.agents.job import Missing
from bench.dense.families.pairs import CONDITIONS, tasks_about
from bench.dense.tasks import Paper, Task

Row = Mapping[str, Any]
LABELLED_LINE = re.compile(r"(?m)^Date: (.+?) \|\| User: (\d+) \|\| Instance: .* \|\| Label: (.+?)\s*$")
DAY_FORMS = ("%b %d, %Y", "%Y-%m-%d", "%B %d, %Y")
CODE = "Code Repository Understanding"
CHOICES = """{question}
Choices:
(A) {choice_A}
(B) {choice_B}
(C) {choice_C}
(D) {choice_D}

Format your response as follows: "The correct answer is (insert answer here)"."""


class Source(NamedTuple):
    """Where a benchmark's rows are, and what is made of them."""

    dataset: str
    config: str | None
    split: str
    papers: Callable[[Iterable[Row], int], Iterator[Paper]]
    tokens: int
    """The length that is taken, unless the user says another."""


def papers_of(name: str, *, tokens: int | None = None, file: Path | None = None) -> Iterator[Paper]:
    """The papers of a benchmark, from the hub or from a file of its rows (JSON, a row a line).

    Raises: Missing, where `datasets` is wanted and not installed.
    """
    source = SOURCES[name]
    length = tokens or source.tokens
    rows = _rows_of_file(file) if file is not None else _rows_of_hub(source, length)
    return source.papers(rows, length)


def _rows_of_file(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _rows_of_hub(source: Source, tokens: int) -> Iterator[Row]:
    try:
        datasets = importlib.import_module("datasets")
    except ModuleNotFoundError:
        raise Missing(
            f"{source.dataset} is fetched by the package datasets, which is missing: .venv/bin/pip install datasets "
            "(it needs the network). Or name a file of its rows with --file, JSON, a row a line."
        ) from None
    config = source.config and source.config.format(tokens=tokens)
    yield from datasets.load_dataset(source.dataset, config, split=source.split, streaming=True)


def _oolong(rows: Iterable[Row], tokens: int) -> Iterator[Paper]:
    tasks, texts = defaultdict[Any, list[Task]](list), dict[Any, str]()
    for row in _of_length(rows, tokens):
        window = row["context_window_id"]
        texts[window] = row["context_window_text"]
        tasks[window].append(Task(str(row["id"]), row["question"], row["answer"], "oolong", row["answer_type"]))
    for window, text in texts.items():
        yield Paper("oolong", f"oolong-synth {window}", {"context.txt": text}, tuple(tasks[window]))


def _pairs(rows: Iterable[Row], tokens: int) -> Iterator[Paper]:
    for row in _of_length(rows, tokens):
        lines_of = defaultdict[int, list[tuple[str, date]]](list)
        for day, user, label in LABELLED_LINE.findall(row["context_window_text_with_labels"]):
            lines_of[int(user)].append((label, _day_of(day)))
        if not lines_of:
            raise ValueError(f"row {row['id']} has no line of the form {LABELLED_LINE.pattern}")
        tasks = tasks_about(lines_of, range(1, len(CONDITIONS) + 1))
        name = f"oolong-pairs {row['context_window_id']}"
        yield Paper("pairs", name, {"context.txt": row["context_window_text"]}, tasks)
        return


def _of_length(rows: Iterable[Row], tokens: int) -> Iterator[Row]:
    return (row for row in rows if row["dataset"] == "trec_coarse" and int(row["context_len"]) == tokens)


def _day_of(words: str) -> date:
    for form in DAY_FORMS:
        try:
            return datetime.strptime(words, form).date()  # noqa: DTZ007 (a day)
        except ValueError:
            continue
    raise ValueError(f"{words!r} is no day in any of the forms {', '.join(DAY_FORMS)}")


def _longbench(rows: Iterable[Row], tokens: int) -> Iterator[Paper]:
    del tokens  # as long as they are
    for row in rows:
        if row["domain"] == CODE:
            task = Task(str(row["_id"]), CHOICES.format_map(row), row["answer"], "longbench")
            yield Paper("longbench", f"LongBench-v2 {row['_id']}", {"context.txt": row["context"]}, (task,))


def _ruler(rows: Iterable[Row], tokens: int) -> Iterator[Paper]:
    del tokens  # a file has one length, and so has a configuration on the hub
    for number, row in enumerate(rows):
        if "outputs" in row:  # as RULER writes it: the question is the last line of the input
            text, _, question = row["input"].strip().rpartition("\n")
            values, index = row["outputs"], row.get("index", number)
        elif str(row.get("task", "")).startswith("niah_single"):
            text, question, values, index = row["context"], row["question"], row["answer"], number
        else:
            continue
        task = Task(f"needle {index}", question.strip(), "\n".join(map(str, values)), "ruler")
        yield Paper("ruler", f"RULER {index}", {"context.txt": text}, (task,))


SOURCES: Mapping[str, Source] = {
    "oolong": Source("oolongbench/oolong-synth", None, "validation", _oolong, 131_072),
    "pairs": Source("oolongbench/oolong-synth", None, "validation", _pairs, 32_768),
    "longbench": Source("THUDM/LongBench-v2", None, "train", _longbench, 0),
    "ruler": Source("simonjegou/ruler", "{tokens}", "test", _ruler, 16_384),
}
"""By the name that `--real` takes."""
