"""Questions on a page for reading: each text in a fence, and what many have alike is said once."""

from __future__ import annotations

from rlm_kernel_mcp.server.pages.questions import asked
from rlm_kernel_mcp.session.parked.reports import AskedItem, QuestionPage


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
