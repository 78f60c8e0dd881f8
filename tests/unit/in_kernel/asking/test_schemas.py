"""What an answer is to be: the short forms, what is taken for JSON, and what a schema cannot do."""

from __future__ import annotations

from typing import Any

import pytest

from rlm_kernel_mcp.in_kernel.asking.errors import SubcallError
from rlm_kernel_mcp.in_kernel.asking.schemas import Missed, Schema


@pytest.mark.parametrize(
    ("wanted", "json"),
    [
        (str, '{"type":"string"}'),
        (int, '{"type":"integer"}'),
        (float, '{"type":"number"}'),
        (bool, '{"type":"boolean"}'),
        (list, '{"type":"array"}'),
        (list[list[int]], '{"items":{"items":{"type":"integer"},"type":"array"},"type":"array"}'),
        (["yes", "no"], '{"enum":["yes","no"]}'),
        ({"type": "null", "$comment": "é"}, '{"$comment":"é","type":"null"}'),
    ],
)
def test_each_form_is_a_json_schema_in_one_spelling(wanted: Any, json: str) -> None:
    assert Schema(wanted).json == json


@pytest.mark.parametrize(
    ("wanted", "answer", "value"),
    [
        (int, "12", 12),
        (int, " 12\n", 12),
        (str, "12", "12"),
        (str, '"a b"', "a b"),
        (str, " plain \n", "plain"),
        (bool, "true", True),
        (["yes", "no"], "yes", "yes"),
        (["yes", "no"], '"no"', "no"),
        (list[str], '```json\n["a"]\n```', ["a"]),
        (list[str], '```\n["a"]```\n', ["a"]),
        ({"type": "object", "required": ["n"]}, '{"n": null}', {"n": None}),
    ],
)
def test_an_answer_is_read_as_its_schema_wants_it(wanted: Any, answer: str, value: object) -> None:
    """JSON, in a fence or not; and a text where a text is wanted."""
    assert Schema(wanted).value(answer) == value


@pytest.mark.parametrize(
    ("wanted", "answer", "why"),
    [
        (int, "twelve", "is not of type 'integer'"),
        (int, "true", "True is not of type 'integer'"),
        (["yes", "no"], "maybe", "'maybe' is not one of"),
        (list[int], '[1, "a"]', r"$[1]: 'a' is not of type 'integer'"),
        (list[int], "[" * 5_000, "is not of type 'array'"),
    ],
)
def test_an_answer_without_its_schema_is_told_in_which_way(wanted: Any, answer: str, why: str) -> None:
    with pytest.raises(Missed) as missed:
        Schema(wanted).value(answer)
    assert why in str(missed.value)
    assert len(str(missed.value)) <= 1_000


@pytest.mark.parametrize("wanted", [5, [], [1], dict, list[dict[str, int]], "string", tuple[int, int]])
def test_what_is_no_schema_is_a_type_error(wanted: Any) -> None:
    with pytest.raises(TypeError, match="a JSON Schema"):
        Schema(wanted)


def deep(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        made = {"allOf": [made]}
    return made


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "strin"},
        {"type": "string", "pattern": "("},
        {"enum": [object()]},
        deep(5_000),
        {"description": "x" * 64_001},
    ],
)
def test_a_dict_that_is_no_schema_is_refused_before_anything_is_asked(wanted: Any) -> None:
    with pytest.raises(SubcallError) as refused:
        Schema(wanted)
    assert refused.value.code == "schema"


@pytest.mark.parametrize("reference", ["https://example.com/schema.json", "file:///etc/passwd", "#/$defs/none"])
def test_a_reference_out_of_the_schema_is_not_followed(reference: str) -> None:
    """Nothing is fetched or read for it."""
    with pytest.raises(SubcallError) as refused:
        Schema({"$ref": reference}).value("1")
    assert (refused.value.code, "cannot be applied" in refused.value.message) == ("schema", True)


def test_a_reference_within_the_schema_is() -> None:
    assert Schema({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}).value("1") == 1
