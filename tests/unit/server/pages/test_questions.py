"""Questions on a page for reading: each text in a fence, and what many have alike is said once."""

from __future__ import annotations

from dataclasses import replace

from rlm_kernel_mcp.server.pages.questions import asked, who_is_asked
from rlm_kernel_mcp.session.answering.questions import Answerer
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.functions.offered import HostFunction
from rlm_kernel_mcp.session.parked.reports import AskedItem, QuestionPage
from rlm_kernel_mcp.session.reports import Counters, Guardrails, Opened


def test_a_new_session_says_who_answers_how_much_and_which_functions_there_are() -> None:
    """And nothing where nobody answers and none is offered."""
    context = ContextReport("text", 3, 1, 3, "x", "abc", "abc", (), 0)
    plain = Opened("s_1", Guardrails(), Counters(), context, {}, ("re",), ())
    assert list(who_is_asked(plain)) == []
    who = Answerer("agent", None, (), "this agent", 200, 1, 200, 2_000_000, "by rlm_answer")
    offers = HostFunction("find"), HostFunction("save")
    assert list(who_is_asked(replace(plain, answerer=who, host_functions=offers))) == [
        "Questions of the code go to this agent: by rlm_answer; at most 200 questions and 2,000,000 tokens in all.",
        "Functions that the code may call by host_call: `find`, `save`.",
    ]


def item(number: int, prompt: str, text: str | None, schema: str | None = None, *, cut: bool = False) -> AskedItem:
    return AskedItem(number, prompt, text, schema, 10, cut)


def test_a_question_that_asks_the_same_of_another_text_is_its_text_alone() -> None:
    """Twenty equal prompts and schemas would take more than what they are about."""
    same, other = "Which mood?", '{"type":"string"}'
    items = (
        item(1, same, "one", other),
        item(2, same, "``` two", other),
        item(3, same, "three"),
        item(4, "Else?", "four"),
        item(5, "Else?", None),
        item(6, "Else?", "six", cut=True),
    )
    paragraphs = list(asked(QuestionPage(items, 6, 0), None))[1:]
    assert paragraphs == [
        "Question 1 (10 characters with its text):\n```\nWhich mood?\n```",
        "Its text:\n```\none\n```",
        f"Its answer is to be JSON of this schema:\n```json\n{other}\n```",
        "Question 2 (10 characters with its text) asks as question 1 does:\n````\n``` two\n````",
        "Question 3 (10 characters with its text):\n```\nWhich mood?\n```",
        "Its text:\n```\nthree\n```",
        "Question 4 (10 characters with its text):\n```\nElse?\n```",
        "Its text:\n```\nfour\n```",
        "Question 5 (10 characters):\n```\nElse?\n```",
        (
            "Question 6 (10 characters with its text, cut here; rlm_get_var with var_name question:6 has all):\n"
            "```\nElse?\n```"
        ),
        "Its text:\n```\nsix\n```",
    ]
