"""Questions of code that runs again, answered from its notebook."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from rlm_kernel_mcp.both_sides.recorded_cells import RecordedAnswer, question_digest
from rlm_kernel_mcp.in_kernel.asking.errors import SubcallError
from rlm_kernel_mcp.in_kernel.asking.items import Item
from rlm_kernel_mcp.in_kernel.asking.recorded import RecordedAnswers
from rlm_kernel_mcp.in_kernel.asking.waiters import Gate, Waiting
from rlm_kernel_mcp.questions_wire import Opts

LLM: Opts = {"batch": 1}


def recorded(*rows: tuple[int, str, str | None], step: int = 1, **more: Any) -> RecordedAnswers:
    """Answers to prompts by step; None: it failed."""
    answers: list[RecordedAnswer] = []
    for number, prompt, answer in rows:
        row: RecordedAnswer = {"step": number, "digest": question_digest("llm", prompt, None)}
        if answer is None:
            row["code"] = "budget"
        else:
            row["answer"] = answer
        answers.append(row)
    return RecordedAnswers(answers, lambda: step, **more)


def asked(answers: RecordedAnswers, *items: Item, opts: Opts = LLM) -> list[Any]:
    waiting, gate = list[Waiting](), Gate()
    answers.ask(items, opts, waiting, gate)
    gate.wait()
    return [one.given for one in waiting]


def test_each_question_has_the_answer_that_it_had() -> None:
    answers = recorded((1, "a", "one"), (1, "b", "two"))
    assert asked(answers, Item("b"), Item("a")) == ["two", "one"]


def test_equal_questions_of_a_step_get_theirs_in_order_and_then_the_first() -> None:
    """As `fresh=True` had them, and as a question that had not its schema was asked once more."""
    answers = recorded((1, "a", "one"), (1, "a", "two"), (2, "a", "three"))
    assert [asked(answers, Item("a"))[0] for _ in range(3)] == ["one", "two", "one"]


def test_a_cell_that_is_no_step_may_ask_what_a_step_did() -> None:
    assert asked(recorded((1, "a", "one"), step=0), Item("a")) == ["one"]


def test_a_question_without_an_answer_fails_with_a_sentence() -> None:
    """One that was never asked, and one that failed then, under the code of then."""
    never, failed = asked(recorded((1, "a", None)), Item("other"), Item("a"))
    assert isinstance(never, SubcallError)
    assert (never.code, never.message.startswith("This notebook has no answer to this question")) == ("off", True)
    assert (failed.code, failed.message.startswith("This question failed in the run")) == ("budget", True)


def test_a_question_about_another_text_is_another() -> None:
    answers = recorded((1, "a", "one"))
    (found,) = asked(answers, Item("a", "text"))
    assert isinstance(found, SubcallError)


def test_arguments_of_a_function_are_the_same_in_any_order() -> None:
    digest = question_digest("function", "price", json.dumps({"b": 2, "a": 1}))
    answers = RecordedAnswers([{"step": 1, "digest": digest, "answer": "7"}], lambda: 1)
    assert asked(answers, Item("price", '{"a":1,"b":2}'), opts={"batch": 0, "kind": "function"}) == ["7"]


def test_a_batch_is_always_forecast_to_fit_and_the_budget_is_not_known() -> None:
    answers = recorded((1, "a", "one"))
    row = answers.question("forecast", lambda number: {"id": number, "items": [["d", 1], ["e", 2]]})
    assert (row["calls"], row["refusal"]) == (2, None)
    with pytest.raises(SubcallError, match="not in this notebook"):
        answers.question("budget", lambda number: number)


def test_children_were_there_if_the_run_had_any() -> None:
    assert recorded(has_children=True).depth() == 2
    assert recorded().depth() == 1


def test_a_task_is_answered_in_its_loop() -> None:
    async def ask() -> Any:
        waiting = list[Waiting]()
        answers = recorded((1, "a", "one"))
        answers.ask([Item("a")], LLM, waiting, asyncio.get_running_loop())
        missed = answers.missed([waiting[0].id], asyncio.get_running_loop())
        return await waiting[0], await missed

    assert asyncio.run(ask()) == ("one", None)
