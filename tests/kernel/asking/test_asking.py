"""Code in a kernel asks over its channel, and gets its answers: alone, in batches, in threads and with await."""

from __future__ import annotations

import json
from typing import Final

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.answering.questions import Answered, Failed
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.asking.conftest import Pair, answered_by
from tests.kernel.asking.scripted import ScriptedBoard
from tests.sessions import AMPLE, SessionDriver

pytestmark = pytest.mark.anyio
NAMES: Final = ("llm_query", "llm_query_batched", "llm_query_async", "budget", "forecast", "SubcallError")


async def test_a_question_is_answered(pair: Pair) -> None:
    """Prompt and text reach who answers; a byte of the context that did not decode is no character that can be sent."""
    report = await pair.session.ok("llm_query('Which?', 'some text é\\ud83d')")
    assert report.result == "'Which?|some text é\ufffd'"
    assert report.subcalls is not None
    assert (report.subcalls.asked, report.subcalls.answered, report.subcalls.failed) == (1, 1, {})
    (asked,) = pair.answers.asked
    assert (asked.step_index, asked.source, asked.schema, asked.model, asked.fresh) == (1, "mcp", None, None, False)


async def test_a_batch_comes_back_in_order_and_says_what_failed(pair: Pair) -> None:
    """What failed stands in its place, is falsy, and is counted in the step's note."""
    pair.answers.rule = lambda one: Failed("declined", "no") if one.text == "3" else Answered(f"<{one.text}>")
    code = (
        "got = llm_query_batched('p', map(str, range(300))); len(got), got[299], [str(one) for one in got if not one]"
    )
    report = await pair.session.ok(code)
    assert report.result == "(300, '<299>', ['declined: no'])"
    assert report.note == "1 of 300 sub-calls failed: declined 1."
    assert len({one.batch for one in pair.answers.asked}) == 1


async def test_spans_are_asked_about_as_their_texts(pair: Pair) -> None:
    """What `chunks` and `search` give goes straight into a batch."""
    report = await pair.session.ok("llm_query_batched('p', chunks(6, by='chars')), llm_query('p', lines(2, 2))")
    assert report.result is not None
    assert "p|beta" in report.result


async def test_threads_and_tasks_ask_too(pair: Pair) -> None:
    """A pool of threads, and one gather."""
    code = """
from concurrent.futures import ThreadPoolExecutor
import asyncio
with ThreadPoolExecutor(8) as pool:
    one = list(pool.map(llm_query, [f"t{n}" for n in range(40)]))
two = await asyncio.gather(*(llm_query_async(f"a{n}") for n in range(40)))
one == [f"t{n}|None" for n in range(40)], two == [f"a{n}|None" for n in range(40)]
"""
    assert (await pair.session.ok(code)).result == "(True, True)"
    assert len({one.batch for one in pair.answers.asked if one.prompt.startswith("a")}) == 1
    assert len({one.batch for one in pair.answers.asked if one.prompt.startswith("t")}) == 40


async def test_a_failure_is_an_exception_with_its_code(pair: Pair) -> None:
    """So that no text of an error is taken for an answer."""
    pair.answers.rule = lambda one: Failed("rate_limited", "later")
    for call in ("llm_query('p')", "await llm_query_async('p')"):
        report = await pair.session.run(call)
        assert report.error is not None
        assert (report.error.ename, report.error.evalue) == ("SubcallError", "rate_limited: later")
    assert (await pair.session.run("''.join(llm_query_batched(['p', 'q']))")).status == "error"
    shown = await pair.session.ok("llm_query_batched(['p', 'q'])")
    assert shown.result == "[SubcallError('rate_limited', 'later'), SubcallError('rate_limited', 'later')]"


async def test_a_schema_is_checked_and_asked_for_once_more(pair: Pair) -> None:
    """In the kernel; the second question says what was wrong with the first answer."""
    pair.answers.rule = lambda one: Answered("12" if one.repair else "many")
    for call in ("llm_query('How many?', schema=int)", "await llm_query_async('How many?', schema=int)"):
        assert (await pair.session.ok(call)).result == "12"
        first, second = pair.answers.asked
        assert (first.schema, first.repair) == ('{"type":"integer"}', None)
        assert second.repair is not None
        assert "is not of type 'integer'" in second.repair


async def test_an_answer_that_never_has_its_schema_is_an_error(pair: Pair) -> None:
    """Who answers is told, for the account of the step."""
    pair.answers.rule = lambda one: Answered("many")
    report = await pair.session.ok("[str(got)[:6] for got in llm_query_batched(['p', 'q'], schema=int)]")
    assert report.result == "['schema', 'schema']"
    assert report.subcalls is not None
    assert (report.subcalls.asked, report.subcalls.failed) == (4, {"schema": 2})
    repairs = [one.number for one in pair.answers.asked if one.repair is not None]
    assert pair.answers.missed_numbers == repairs


async def test_json_is_read_as_its_schema_wants_it(pair: Pair) -> None:
    """Whatever a model puts around it."""
    answers = iter(['```json\n["a", "b"]\n```', "positive", json.dumps({"n": 1})])
    pair.answers.rule = lambda one: Answered(next(answers))
    code = """
shape = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
[llm_query("p", schema=list[str]), llm_query("p", schema=["positive", "negative"]), llm_query("p", schema=shape)]
"""
    assert (await pair.session.ok(code)).result == "[['a', 'b'], 'positive', {'n': 1}]"


async def test_a_schema_that_runs_for_ever_is_ended_by_its_step(pair: Pair) -> None:
    """It is code of the session's, and runs where that runs."""
    pair.answers.rule = lambda one: Answered('"' + "a" * 40 + 'b"')
    report = await pair.session.run("llm_query('p', schema={'type': 'string', 'pattern': '^(a+)+$'})", timeout_ms=300)
    assert (report.status, report.lost) == ("timeout", None)
    assert (await pair.session.ok("1")).result == "1"


async def test_a_batch_that_does_not_fit_is_refused_before_it_is_asked(pair: Pair) -> None:
    """With the reason; a single question is asked, and has its own."""
    pair.answers.refusal = Failed("budget", "too much")
    report = await pair.session.run("llm_query_batched(['p', 'q'])")
    assert report.error is not None
    assert report.error.evalue == "budget: too much"
    assert (pair.answers.asked, report.note) == ([], "2 of 2 sub-calls failed: budget 2.")
    assert report.subcalls is not None
    assert (report.subcalls.asked, report.subcalls.failed) == (2, {"budget": 2})
    thought_of = await pair.session.ok("forecast(['p', 'q']).fits")
    assert (thought_of.result, thought_of.subcalls) == ("False", None)


async def test_what_is_too_large_is_not_sent(pair: Pair) -> None:
    """It fails alone; more than a batch may have fail together."""
    code = "[str(one)[:9] for one in llm_query_batched(['p', 'p' * 400_001, chr(1) * 399_999])]"
    assert (await pair.session.ok(code)).result == "['p|None', 'too_large', 'too_large']"
    report = await pair.session.run("llm_query_batched(['p'] * 10_001)")
    assert report.error is not None
    assert report.error.evalue.startswith("too_many: A batch may have 10,000 questions and not 10,001")
    assert (await pair.session.ok("len(llm_query('p', '\\N{GRINNING FACE}' * 300_000))")).result == "300002"


async def test_budget_and_forecast_say_what_is_left(pair: Pair) -> None:
    """And a report says what is left of the sub-calls' limits."""
    report = await pair.session.ok(
        "b, f = budget(), forecast('p', ['a', 'b', 'a']); llm_query('p'); b.subcalls, b.backend, f.calls, f.fits"
    )
    assert report.result == "(1000, 'scripted', 2, True)"
    assert (report.budget.subcalls_left, report.budget.subcall_tokens_left) == (999, 1_999_990)


async def test_a_call_with_wrong_arguments_is_a_mistake_of_the_code(pair: Pair) -> None:
    """And is told as one."""
    for call, ename in (
        ("llm_query(5)", "TypeError"),
        ("llm_query('p', b'x')", "TypeError"),
        ("llm_query('p', schema=5)", "TypeError"),
        ("llm_query_batched(['p'], ['a', 'b'])", "ValueError"),
        ("llm_query_batched('p', 'a text')", "TypeError"),
        ("llm_query_batched('p', lines(1, 2))", "TypeError"),
        ("forecast('p', context)", "TypeError"),
    ):
        report = await pair.session.run(call)
        assert report.error is not None
        assert report.error.ename == ename
    assert pair.answers.asked == []


async def test_a_habit_from_elsewhere_is_told_what_does(pair: Pair) -> None:
    """Other libraries' names, an await of what needs none, and other arguments."""
    for code, words in (
        ("sub_llm('what is it?')", "llm_query(prompt, text) asks a model"),
        ("await llm_query('what is it?')", "llm_query_async is for that"),
        ("await rlm_query('what is it?', 'a text')", "Questions and calls need no await"),
        ("rlm_query('what is it?')", "It is rlm_query(question, context, *, schema=None)."),
        (
            "llm_query(question='what is it?')",
            "It is llm_query(prompt, text=None, *, schema=None, model=None, fresh=False).",
        ),
        ("budget = 3\nbudget()", "`del budget` gives the function back"),
    ):
        report = await pair.session.run(code)
        assert report.error is not None
        assert words in report.error.traceback


async def test_where_nobody_answers_the_names_say_so(asking_registry: Registry) -> None:
    """And which setting switches it on; a report has nothing of it."""
    with answered_by(asking_registry, None):
        session = await SessionDriver.open(asking_registry)
    for call in (
        "llm_query('p')",
        "llm_query_batched(['p'])",
        "budget()",
        "forecast(['p'])",
        "await llm_query_async('p')",
    ):
        report = await session.run(call)
        assert report.error is not None
        assert report.error.evalue.startswith("off: ")
        assert "RLM_SUBCALL_BACKEND" in report.error.evalue
        assert (report.subcalls, report.budget.subcalls_left) == (None, None)


async def test_a_client_is_told_of_the_names_where_somebody_answers(asking_registry: Registry) -> None:
    """And elsewhere of none: they are of no use there. Only where they are of none a context may have one of them."""
    with answered_by(asking_registry, ScriptedBoard()):
        opened = await asking_registry.init_context(context_text="x", context_paths=None, limits=AMPLE)
        for name in NAMES:
            with pytest.raises(InvalidInput, match="means nothing else"):
                await asking_registry.add_context(opened.session_id, Given(text="x"), Options(name))
    assert set(NAMES) <= opened.namespace.keys()
    with answered_by(asking_registry, None):
        opened = await asking_registry.init_context(context_text="x", context_paths=None, limits=AMPLE)
    assert not set(NAMES) & opened.namespace.keys()
    for name in NAMES:
        added = await asking_registry.add_context(opened.session_id, Given(text="x"), Options(name))
        assert added.context.name == name
    report = await SessionDriver(asking_registry, opened.session_id).run("budget()")
    assert report.error is not None
    assert "`budget` is a context of this session" in report.error.traceback
