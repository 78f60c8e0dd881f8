"""What a run of `claude` says, read strictly: an answer with its cost, or why there is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlm_kernel_mcp.session.answering.backends.protocol import ATTEMPTS, Answer, Unanswered
from rlm_kernel_mcp.session.answering.backends.replies import SAID_CHARS
from rlm_kernel_mcp.session.answering.claude.claude_cli import secrets_of
from rlm_kernel_mcp.session.answering.claude.lines import Said
from rlm_kernel_mcp.session.answering.claude.trial import judge

KEY = "sk-ant-canary-0123456789abcdef"
INIT = {"type": "system", "subtype": "init", "tools": [], "mcp_servers": []}
USED = {"m": {"inputTokens": 10, "cacheReadInputTokens": 5, "cacheCreationInputTokens": 2, "outputTokens": 3}}
RESULT = {"type": "result", "subtype": "success", "is_error": False, "result": "yes", "total_cost_usd": 0.25}
RESULT |= {"modelUsage": USED}


def outcome(*lines: dict[str, Any], size: int = 7) -> Answer | Unanswered:
    """In pieces of a size, as a pipe may have them."""
    said, text = Said(), "".join(json.dumps(line) + "\n" for line in lines).encode()
    try:
        for begin in range(0, len(text), size):
            said.take(text[begin : begin + size])
        return said.answer(0)
    except Unanswered as unanswered:
        return unanswered


def failure(*lines: dict[str, Any], **result: Any) -> Unanswered:
    said = outcome(INIT, *lines, {**RESULT, **result}, size=1 << 20)
    assert isinstance(said, Unanswered)
    return said


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_an_answer_has_what_was_used_of_every_model(size: int) -> None:
    """In whatever pieces it comes; what is no line of its own form is passed over."""
    odd = {"type": "rate_limit_event"}
    assert outcome(odd, INIT, odd, RESULT, size=size) == Answer("yes", 17, 3, 0.25, "m")
    for wrong in ({"total_cost_usd": "1"}, {"total_cost_usd": -1}, {"total_cost_usd": True}, {"total_cost_usd": None}):
        said = outcome(INIT, {**RESULT, **wrong, "modelUsage": None})
        assert said == Answer("yes", None, None, None, "")


@pytest.mark.parametrize(
    ("offers", "words"),
    [
        ({"tools": ["Bash", "Read", "A", "B", "C", "D"]}, "it offers Bash, Read, A, B, C and 1 more (policy)"),
        ({"mcp_servers": [{"name": "files\x1b", "status": "connected"}]}, "it offers files\\x1b (policy)"),
        ({"tools": None}, "it does not say which tools it offers (policy)"),
        ({"mcp_servers": "x"}, "it does not say which tools it offers (policy)"),
    ],
    ids=["tools", "servers", "silent", "odd"],
)
def test_one_that_offers_anything_is_refused_at_the_line_that_says_so(offers: dict[str, Any], words: str) -> None:
    """For all questions; what comes behind that line is never read."""
    said = outcome({**INIT, **offers}, RESULT)
    assert isinstance(said, Unanswered)
    assert (said.code, said.is_for_all) == ("refused", True)
    assert words in said.message


def test_an_answer_of_one_that_has_not_said_what_it_offers_is_no_answer() -> None:
    """Whatever else it says."""
    said = outcome(RESULT)
    assert isinstance(said, Unanswered)
    assert (said.code, said.is_for_all) == ("refused", True)


@pytest.mark.parametrize(
    ("result", "code", "words", "tries"),
    [
        ({"is_error": True, "api_error_status": 429, "result": "slow"}, "rate_limited", "(HTTP 429): slow", ATTEMPTS),
        ({"is_error": True, "api_error_status": 529, "result": "over"}, "backend", "failed (HTTP 529)", ATTEMPTS),
        ({"is_error": True, "api_error_status": 413, "result": "big"}, "too_large", "too long for the model", 1),
        ({"is_error": True, "api_error_status": 403, "result": "no"}, "refused", "HTTP 403", 1),
        ({"is_error": True, "stop_reason": "refusal", "result": "no"}, "refused", "refused to answer", 1),
        ({"subtype": "error_max_budget_usd", "is_error": True}, "budget", "cost $0.2500", 1),
        ({"result": "x" * 400_001}, "too_large", "400,001 characters", 1),
        ({"is_error": True, "result": "odd"}, "backend", "claude has failed: odd.", 1),
        ({"result": None}, "too_large", "cut off", 1),
    ],
    ids=["429", "529", "413", "403", "refusal", "budget", "long", "odd", "none"],
)
def test_a_failure_has_its_code_and_what_it_has_cost(result: dict[str, Any], code: str, words: str, tries: int) -> None:
    """What was used is charged, also where there is no answer."""
    said = failure(**result)
    assert (said.code, said.is_for_all, said.tries) == (code, False, tries)
    assert words in said.message
    assert said.answer is not None
    assert (said.answer.usd, said.answer.tokens_in) == (0.25, 17)


@pytest.mark.parametrize(
    ("word", "code", "is_for_all"),
    [
        ("authentication_failed", "backend", True),
        ("billing_error", "backend", True),
        ("rate_limit", "rate_limited", False),
        ("server_error", "backend", False),
        ("max_output_tokens", "too_large", False),
    ],
)
def test_the_program_s_own_word_for_a_failure_counts_where_no_status_says_more(
    word: str, code: str, is_for_all: bool
) -> None:
    """`Not logged in` is no endpoint's."""
    said = failure({"type": "assistant", "error": word}, is_error=True, result="Not logged in")
    assert (said.code, said.is_for_all) == (code, is_for_all)


def test_an_answer_that_it_went_on_with_by_itself_is_a_part_of_one() -> None:
    """Beyond its most tokens it asks the model to go on, and has the last piece alone for its result."""
    assert failure({"type": "user", "message": {}}).code == "too_large"


def test_a_run_that_ends_without_a_result_or_says_too_much_has_no_answer() -> None:
    """What it complained of is not for code."""
    with pytest.raises(Unanswered) as none:
        Said().answer(3)
    assert none.value.message == "claude ended with status 3 without an answer; the server's log has what it said."
    assert not none.value.is_paid
    said = Said()
    for _ in range(8):
        assert not said.take(b"x" * 1_000_000)
    with pytest.raises(Unanswered) as much:
        said.take(b"x")
    assert "more than 8,000,000 bytes" in much.value.message
    assert outcome(INIT, {"type": []}, {"type": "result", "subtype": []}) is not None


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        ([], "it sent no question when it was tried"),
        ([b"{"], "what it sends cannot be read"),
        ([b"[]"], "what it sends offers tools"),
        ([b'{"tools": []}', b'{"tools": [{"name": "Bash"}]}'], "what it sends offers tools"),
        ([b'{"tools": [], "messages": ["canary"]}'], "it reads the files that a question names"),
    ],
    ids=["nothing", "broken", "odd", "tools", "files"],
)
def test_what_it_sends_in_its_trial_has_to_be_a_question_alone(heard: list[bytes], words: str) -> None:
    """Whatever it says of itself."""
    said = Said()
    for line in (INIT, {**RESULT, "is_error": True}):
        said.take(json.dumps(line).encode() + b"\n")
    with pytest.raises(Unanswered) as refused:
        judge(heard, "canary", said, 0)
    assert words in refused.value.message
    assert (refused.value.code, refused.value.is_for_all) == ("refused", True)
    judge([b'{"tools": []}', b"{}"], "canary", said, 0)


@pytest.mark.parametrize("before", range(SAID_CHARS - 20, SAID_CHARS, 3))
def test_not_even_a_part_of_a_secret_comes_back_where_what_was_said_is_cut(before: int) -> None:
    """The end of what is shown lies in the middle of it, of an error's words and of a model's name."""
    said = Said((KEY,))
    result = {**RESULT, "is_error": True, "result": "e" * before + KEY, "modelUsage": {"m" * before + KEY: {}}}
    for line in (INIT, result):
        said.take(json.dumps(line).encode() + b"\n")
    with pytest.raises(Unanswered) as why:
        said.answer(0)
    assert KEY[:6] not in f"{why.value.message} {why.value.answer}"


def test_what_nobody_is_to_see_are_keys_values_of_headers_and_passwords_of_proxies() -> None:
    """Each by itself, since an endpoint may repeat one alone."""
    given = {
        "ANTHROPIC_API_KEY": "a-key",
        "PATH": "/bin",
        "HTTPS_PROXY": "http://u:p%40ss@x",
        "https_proxy": "http://[x",
    }
    given["ANTHROPIC_CUSTOM_HEADERS"] = "x-one: sesame\nauthorization: Bearer token"
    found = secrets_of(given)
    assert {"a-key", "sesame", "token", "Bearer token", "p%40ss", "p@ss"} <= set(found)
    assert "/bin" not in found
    assert [len(one) for one in found] == sorted((len(one) for one in found), reverse=True)


def test_what_a_run_said_that_had_the_question_is_told_from_a_trial() -> None:
    """A trial costs nobody anything; a question that was handed over may."""
    for is_trial, words in ((True, "is not asked, since it offers Bash"), (False, "was asked, and its answer is not")):
        said = Said(is_trial=is_trial)
        with pytest.raises(Unanswered) as why:
            said.take(json.dumps({**INIT, "tools": ["Bash"]}).encode() + b"\n")
        assert words in why.value.message
        assert why.value.is_paid is not is_trial
