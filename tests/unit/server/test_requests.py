"""Requests are read strictly, and what is wrong with one is said in our own words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.server import requests, validation
from rlm_kernel_mcp.server.tools import TABLE
from rlm_kernel_mcp.session.functions.offered import HostFunction

MODELS = {row.name: row.request for row in TABLE}
RIGHT: dict[str, dict[str, Any]] = {
    "rlm_init_context": {"context_text": "a text"},
    "rlm_run_repl": {"session_id": "s_1", "code": "1 + 1"},
    "rlm_await_step": {"session_id": "s_1", "step_index": 1},
    "rlm_interrupt": {"session_id": "s_1"},
    "rlm_get_var": {"session_id": "s_1", "var_name": "x"},
    "rlm_finalize": {"session_id": "s_1", "final_text": "done"},
    "rlm_get_trace": {"session_id": "s_1"},
    "rlm_list_sessions": {},
    "rlm_add_context": {"session_id": "s_1", "name": "more", "text": "x"},
    "rlm_answer": {"session_id": "s_1"},
}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def refusal(tool: str, **arguments: Any) -> str:
    """The message with which a request is refused."""
    with pytest.raises(InvalidInput) as caught:
        validation.parse(tool, MODELS[tool], arguments)
    return caught.value.message


def refused(tool: str, arguments: dict[str, Any]) -> str:
    """The message with which a request is refused, or nothing where it is served."""
    try:
        validation.parse(tool, MODELS[tool], arguments)
    except InvalidInput as error:
        return error.message
    return ""


@pytest.mark.parametrize("tool", RIGHT)
def test_the_fewest_arguments_are_enough_and_the_rest_has_the_contract_s_defaults(tool: str) -> None:
    """A caller need not know a default to get it."""
    request = validation.parse(tool, MODELS[tool], RIGHT[tool])
    assert request.response_format == "json"
    limit = 20 if tool == "rlm_list_sessions" else 4_000
    wait_ms = 20_000 if tool in ("rlm_init_context", "rlm_add_context") else 45_000
    for name, default in {"wait_ms": wait_ms, "max_steps": 64, "limit": limit, "budget_limit": 100_000}.items():
        assert getattr(request, name, default) == default


@pytest.mark.parametrize("tool", RIGHT)
def test_an_unknown_argument_is_refused_with_the_known_ones(tool: str) -> None:
    """The SDK would drop it without a word, and the caller would believe that it had worked."""
    message = refusal(tool, **RIGHT[tool], max_step=3)
    assert message.startswith(f"{tool} has no argument max_step; it takes: ")
    assert message.endswith("response_format.")


@pytest.mark.parametrize(
    ("tool", "name", "low", "high", "unit"),
    [
        ("rlm_init_context", "max_steps", 1, 1_000_000, "steps"),
        ("rlm_init_context", "max_runtime_ms", 1, 86_400_000, "milliseconds"),
        ("rlm_init_context", "budget_limit", 1, 1_000_000_000, "characters"),
        ("rlm_init_context", "step_timeout_ms", 1, 86_400_000, "milliseconds"),
        ("rlm_run_repl", "wait_ms", 0, 600_000, "milliseconds"),
        ("rlm_run_repl", "timeout_ms", 1, 86_400_000, "milliseconds"),
        ("rlm_run_repl", "max_output_chars", 1, 200_000, "characters"),
        ("rlm_get_var", "limit", 1, 200_000, "characters"),
        ("rlm_get_trace", "max_output_chars", 1, 200_000, "characters"),
        ("rlm_finalize", "max_output_chars", 1, 200_000, "characters"),
    ],
)
def test_a_number_out_of_bounds_is_refused_with_bounds_and_unit(
    tool: str, name: str, low: int, high: int, unit: str
) -> None:
    """Both bounds are inside; one beyond each is not, and the message says all that a caller needs."""
    for value in (low, high):
        assert getattr(validation.parse(tool, MODELS[tool], {**RIGHT[tool], name: value}), name) == value
        if value:
            read = getattr(validation.parse(tool, MODELS[tool], {**RIGHT[tool], name: float(value)}), name)
            assert (read, type(read)) == (value, int)
    for value in (low - 1, high + 1):
        wanted = f"{name} must be a whole number of {unit} from {low:,} to {high:,}; given: {value}."
        assert refusal(tool, **{**RIGHT[tool], name: value}) == wanted


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "true"),
        (5.5, "5.5"),
        (-0.0, "-0.0"),
        (1e300, "a number beyond 64 bits"),
        (float("inf"), "a number that is not finite"),
        ("5", 'the text "5"'),
        (None, "null"),
        ([5], "a list of 1"),
        ({}, "an object"),
        (float("nan"), "a number that is not finite"),
        (10**400, "a number beyond 64 bits"),
    ],
)
def test_what_is_no_whole_number_is_refused(value: object, said: str) -> None:
    """A boolean, a fraction and a numeral are none, and a message never grows with the value."""
    assert refusal("rlm_run_repl", **RIGHT["rlm_run_repl"], wait_ms=value).endswith(f"given: {said}.")


@pytest.mark.parametrize("source", [{}, {"context_text": "a", "context_paths": ["b"]}, {"context_text": None}])
def test_exactly_one_source_of_the_context_is_wanted(source: dict[str, Any]) -> None:
    """None and both are the same mistake, and null is not a source."""
    assert "exactly one of context_text and context_paths" in refusal("rlm_init_context", **source)


@pytest.mark.parametrize(
    "given", [{}, {"text": "a", "json_text": "1"}, {"text": "a", "paths": ["b"], "json_text": "1"}]
)
def test_exactly_one_source_of_a_further_context_is_wanted(given: dict[str, Any]) -> None:
    """As at the beginning."""
    message = refusal("rlm_add_context", session_id="s_1", name="more", **given)
    assert "Give exactly one of text, paths and json_text; given: " + (" and ".join(given) or "none") in message


@pytest.mark.parametrize("name", ["", "two words", "a.b", "class", "1a"])
def test_a_context_s_name_is_an_identifier(name: str) -> None:
    """And no keyword."""
    assert refusal("rlm_add_context", session_id="s_1", name=name, text="x").startswith("name must be ")
    assert refusal("rlm_init_context", context_name=name, context_text="x").startswith("context_name must be ")


@pytest.mark.parametrize("final", [{}, {"final_text": "a", "final_var_name": "b"}])
def test_exactly_one_final_answer_is_wanted(final: dict[str, Any]) -> None:
    """As with the context."""
    message = refusal("rlm_finalize", session_id="s_1", **final)
    assert "exactly one of final_text and final_var_name" in message


def test_an_empty_final_text_is_an_answer() -> None:
    """A truthful answer may be empty."""
    assert validation.parse("rlm_finalize", requests.Finalize, {"session_id": "s", "final_text": ""}).final_text == ""


@pytest.mark.parametrize(
    ("given", "meant"), [("\ufb01x", "fix"), ("e\u0301", "\u00e9"), ("\U0001d431", "x"), ("\u212b", "\u00c5")]
)
def test_a_variable_goes_by_the_form_that_python_gives_its_name(given: str, meant: str) -> None:
    """A step that binds one of these binds the other."""
    namespace: dict[str, Any] = {}
    exec(f"{given} = 1", namespace)
    assert meant in namespace
    parsed = validation.parse("rlm_get_var", requests.GetVar, {"session_id": "s", "var_name": given})
    assert parsed.var_name == meant
    final = validation.parse("rlm_finalize", requests.Finalize, {"session_id": "s", "final_var_name": given})
    assert final.final_var_name == meant


@pytest.mark.parametrize("name", ["a.b", "x[0]", "f()", "", "1a", "a b", "\ud800", "a\0"])
def test_a_variable_is_asked_for_by_one_identifier(name: str) -> None:
    """Anything that would have to be evaluated is refused."""
    assert refusal("rlm_get_var", session_id="s", var_name=name).startswith("var_name must be one Python identifier")


@pytest.mark.parametrize("name", ["for", "\U0001d41f\U0001d428\U0001d42b"])
def test_a_keyword_is_refused_as_one(name: str) -> None:
    """It is an identifier, which no value can have; also in letters that Python reads as those."""
    told = refusal("rlm_get_var", session_id="s", var_name=name)
    assert told == 'var_name must be a name that a value can have; given: the text "for", a keyword of Python.'


def test_half_a_surrogate_pair_is_refused_by_its_place() -> None:
    """Text that is not Unicode can be neither run, hashed nor answered."""
    message = refusal("rlm_run_repl", session_id="s", code="print('\ud83d')")
    assert message.startswith("code must be valid Unicode; character 7 (U+D83D)")


def test_a_nul_character_is_refused_in_code_and_paths_but_kept_in_a_context() -> None:
    """Python cannot compile it and the system cannot open it; a text may well hold it."""
    assert "NUL character; there is one at character 1" in refusal("rlm_run_repl", session_id="s", code="a\0")
    assert refusal("rlm_init_context", context_paths=["ok", "a\0"]).startswith("context_paths[1] must not hold a NUL")
    request = validation.parse("rlm_init_context", requests.InitContext, {"context_text": "a\0b"})
    assert request.context_text == "a\0b"


@pytest.mark.parametrize("text", [" \n a \r\n", "\ufeffa", "e\u0301", "\u202e"])
def test_a_context_is_kept_as_it_is(text: str) -> None:
    """Not stripped, not normalised: offsets are the source's."""
    assert validation.parse("rlm_init_context", requests.InitContext, {"context_text": text}).context_text == text


def test_several_faults_are_told_at_once() -> None:
    """One round trip mends them all."""
    message = refusal("rlm_run_repl", session_id=7, wait_ms=-1, foo=1, bar=2)
    assert message == (
        "session_id must be a text of 1 to 64 characters; given: 7. "
        "code is missing; it must be a text of 1 to 200,000 characters. "
        "wait_ms must be a whole number of milliseconds from 0 to 600,000; given: -1. "
        "rlm_run_repl has no argument foo, bar; it takes: "
        "session_id, code, timeout_ms, wait_ms, max_output_chars, response_format."
    )


@given(st.sampled_from(sorted(RIGHT)), st.dictionaries(st.text(max_size=12), JSON_VALUES, max_size=4))
def test_whatever_is_sent_is_read_or_refused_shortly(tool: str, junk: dict[str, Any]) -> None:
    """No argument of any kind leads to another exception, or to a message that floods the model."""
    message = refused(tool, {**RIGHT[tool], **junk})
    assert len(message) < 1_500
    assert "pydantic" not in message.lower()


@given(st.sampled_from(sorted(RIGHT)), st.data())
def test_a_known_argument_of_any_value_is_read_or_refused_by_name(tool: str, data: st.DataObject) -> None:
    """The message begins with the argument that it is about."""
    name = data.draw(st.sampled_from(sorted(MODELS[tool].model_fields)))
    value = data.draw(JSON_VALUES)
    assert name in (refused(tool, {**RIGHT[tool], name: value}) or name)


@pytest.mark.parametrize("tool", RIGHT)
def test_the_published_schema_is_flat_and_closed_and_describes_everything(tool: str) -> None:
    """Top-level combinators are refused by some model APIs; titles are noise; a silent property is a riddle."""
    schema = validation.input_schema(MODELS[tool])
    assert set(schema) == {"type", "properties", "required", "additionalProperties"}
    assert schema["additionalProperties"] is False
    assert list(schema["properties"])[-1] == "response_format"
    assert all(part["description"] for part in schema["properties"].values())
    assert "title" not in json.dumps(schema)
    assert set(schema["required"]) <= set(RIGHT[tool])


@pytest.mark.parametrize(
    ("answers", "wrong"),
    [
        (
            "yes",
            'answers must be a list of at most 1,000 answers, each {id, text} or {id, error}; given: the text "yes"',
        ),
        ([{"id": 1, "text": ""}] * 1_001, "answers must be a list of at most 1,000 answers"),
        (["yes"], "answers[0] must be an object of id and text, or of id and error where there is no answer"),
        ([{"id": 1}], "answers[0] must be an object of id and text"),
        ([{"id": 1, "text": "a", "error": "b"}], "answers[0] must be an object of id and text"),
        ([{"id": 1, "text": "a", "more": 1}], "answers[0] must be an object of id and text"),
        ([{"id": 1, "text": "a"}, {"id": "2", "text": "b"}], "answers[1] id must be a whole number"),
        ([{"id": 0, "text": "a"}], "answers[0] id must be a whole number"),
        ([{"id": True, "text": "a"}], "answers[0] id must be a whole number"),
        ([{"id": 1, "text": None}], "answers[0] text must be a text of 0 to 200,000 characters; given: null"),
        (
            [{"id": 1, "text": "x" * 200_001}],
            "answers[0] text must be a text of 0 to 200,000 characters; given: 200,001",
        ),
        ([{"id": 1, "error": ["x"]}], "answers[0] error must be a text of 0 to 200,000 characters; given: a list of 1"),
        ([{"id": 1, "text": "\ud800"}], "answers[0] text must be valid Unicode"),
    ],
)
def test_a_wrong_answer_is_named_by_its_place(answers: object, wrong: str) -> None:
    """And none of the others is taken."""
    assert refusal("rlm_answer", session_id="s_1", answers=answers).startswith(wrong)


@pytest.mark.parametrize(
    ("functions", "wrong"),
    [
        ("f", "host_functions must be a list of at most 64 functions, each {name, description}; given: the text"),
        ([{"name": f"f{n}"} for n in range(65)], "host_functions must be a list of at most 64 functions"),
        (["f"], "host_functions[0] must be an object of name and description"),
        ([{"description": "d"}], "host_functions[0] must be an object of name and description"),
        ([{"name": "f", "more": 1}], "host_functions[0] must be an object of name and description"),
        ([{"name": "f"}, {"name": "a b"}], "host_functions[1] name must be one Python identifier"),
        ([{"name": "class"}], "host_functions[0] name must be a name that a value can have"),
        ([{"name": "f" * 65}], "host_functions[0] name must be one Python identifier"),
        ([{"name": "f", "description": None}], "host_functions[0] description must be a text of 0 to 2,048"),
        ([{"name": "f", "description": "d" * 2_049}], "host_functions[0] description must be a text of 0 to 2,048"),
        ([{"name": "f"}, {"name": "g"}, {"name": "f"}], "host_functions[2] name 'f' is there twice"),
    ],
)
def test_a_wrong_function_is_named_by_its_place(functions: object, wrong: str) -> None:
    """Of each the description may be left out, and nothing else."""
    assert refusal("rlm_init_context", context_text="x", host_functions=functions).startswith(wrong)


def test_right_functions_are_offered_in_their_order() -> None:
    """Under the names that Python itself gives them."""
    given = [{"name": "e\u0301tat", "description": "d"}, {"name": "f"}]
    asked = validation.parse("rlm_init_context", requests.InitContext, {"context_text": "x", "host_functions": given})
    assert requests.offered_in(asked) == (HostFunction("\u00e9tat", "d"), HostFunction("f"))


def test_right_answers_are_taken_as_they_are() -> None:
    """An empty one too; a number without a fraction is a whole number."""
    given = [{"id": 30_001.0, "text": ""}, {"id": 30_002, "error": "cannot tell"}]
    request = validation.parse("rlm_answer", requests.Answer, {"session_id": "s_1", "answers": given})
    assert list(request.answers) == [{"id": 30_001, "text": ""}, {"id": 30_002, "error": "cannot tell"}]
    assert refusal("rlm_answer", session_id="s_1", take=101).startswith("take must be a whole number of questions")


@pytest.mark.parametrize(
    "name", ["question:", "question:x", "question: 1", "question:-1", "Question:1", "question:1.0"]
)
def test_a_whole_question_is_read_by_its_number_alone(name: str) -> None:
    assert refusal("rlm_get_var", session_id="s_1", var_name=name).startswith("var_name must be one Python identifier")
    given = {"session_id": "s_1", "var_name": "question:30001"}
    assert validation.parse("rlm_get_var", requests.GetVar, given).var_name == "question:30001"
