"""What is asked once more of an answer that has not its schema."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.in_kernel.asking.calls import FORM, _form
from rlm_kernel_mcp.questions_wire import ITEM_CHARS_MAX


@pytest.mark.parametrize(("question_chars", "answer_chars"), [(400_000, 1), (300_000, 200_000), (100, 399_000)])
def test_an_answer_is_brought_into_form_however_long_its_question_is(question_chars: int, answer_chars: int) -> None:
    """It is paid for: what goes along of the question is as much as there is room for."""
    question = "q" * question_chars
    prompt = _form(question, "a" * answer_chars)
    head, _, rest = prompt.partition("…") if "…" in prompt else (prompt, "", prompt)
    assert head.startswith("The data is an answer to this question: qqqq")
    assert rest.endswith("Give the same answer as JSON, and nothing else.")
    assert len(prompt) + answer_chars <= ITEM_CHARS_MAX
    assert (prompt == FORM.format(question=question)) is (question_chars == 100)
