"""How an output is scored: the rules of the benchmarks' own scorers, written anew, with their sources.

Is: output and gold to a number from 0 to 1. Is not: a judge by a model: none of these needs one.

- `oolong`: github.com/abertsch72/oolong (MIT), commit adbf1cb, src/eval/eval_helpers.py, `synth_process_response`:
  what stands behind the last colon; equal texts, 0.75 to the power of the distance for numbers, equal days for dates.
- `pairs`: F1 over unordered pairs, as the paper on RLMs describes it (arXiv 2512.24601, section 2.1); it has no code.
- `ruler`: github.com/NVIDIA/RULER (Apache-2.0), commit c3f5e3b, scripts/eval/synthetic/constants.py,
  `string_match_all`: the share of the values that stand in the output, in any case.
- `longbench`: github.com/THUDM/LongBench (MIT), commit 2e00731, pred.py, `extract_answer`: "The correct answer is (A)".
- `exact`: ours, for tasks of ours: the text behind the last colon, but for spaces, quotes and case.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from bench.dense.tasks import Task

SHORT = 20
"""OOLONG's scorer takes an answer of fewer characters as it is."""
COMPARED = ("more common", "less common", "same frequency")
PAIR = re.compile(r"\(?\s*(\d+)\s*,\s*(\d+)\s*\)?")
CHOICES = re.compile(r"The correct answer is \(([A-D])\)"), re.compile(r"The correct answer is ([A-D])")


def oolong(output: str, task: Task) -> float:
    """`task.gold`: as the data set has it, such as `['entity']`, `[12]` or `[datetime.date(2023, 1, 5)]`."""
    gold: Any
    if "datetime" in task.gold:
        gold = datetime.strptime(task.gold, "[datetime.date(%Y, %m, %d)]")  # noqa: DTZ007 (a day)
    else:
        gold = ast.literal_eval(task.gold)[0]
    said = oolong_answer(output)
    if said == str(gold):
        return 1.0
    if said in COMPARED:
        return float(said in str(gold))
    try:
        if task.answer_type == "ANSWER_TYPE.NUMERIC":
            return float(0.75 ** abs(int(gold) - int(said)))
        if task.answer_type == "ANSWER_TYPE.DATE":
            return float(importlib.import_module("dateutil.parser").parse(said) == gold)
    except (ValueError, OverflowError):
        return 0.0
    return 0.0


def oolong_answer(output: str) -> str:
    """What OOLONG's scorer takes for the answer in an output."""
    if ":" not in output:
        return output if len(output) < SHORT or output.isspace() else output.rsplit(maxsplit=1)[-1]
    said = re.sub(r"[*\[\]]", "", output.rpartition(":")[2].strip())
    if len(said) < SHORT:
        return said
    return next((words for words in COMPARED if words in said), said)


def pairs(output: str, task: Task) -> float:
    """F1; 1 where there are no pairs and none is named."""
    said, gold = pairs_of(output), pairs_of(task.gold)
    if not said or not gold:
        return float(said == gold)
    both = len(said & gold)
    return 2 * both / (len(said) + len(gold))


def pairs_of(text: str) -> set[tuple[int, int]]:
    """The pairs of numbers that a text names, each with the lower one first."""
    found = (sorted(map(int, pair)) for pair in PAIR.findall(text))
    return {(low, high) for low, high in found}


def ruler(output: str, task: Task) -> float:
    """`task.gold`: the values, a line each."""
    values = task.gold.splitlines()
    return sum(value.lower() in output.lower() for value in values) / len(values)


def longbench(output: str, task: Task) -> float:
    """A letter."""
    found = [choice.search(output.replace("*", "")) for choice in CHOICES]
    return float(next((one[1] for one in found if one is not None), None) == task.gold)


def exact(output: str, task: Task) -> float:
    """Nothing for what is nearly right."""
    said = output.rpartition(":")[2]
    return float(said.strip(" \n.'\"`*").casefold() == task.gold.casefold())


SCORERS: dict[str, Callable[[str, Task], float]] = {
    "oolong": oolong,
    "pairs": pairs,
    "ruler": ruler,
    "longbench": longbench,
    "exact": exact,
}


def score(output: str, task: Task) -> float:
    """From 0 to 1."""
    return SCORERS[task.scorer](output, task)
