"""What the model is told fits where clients cut, and holds what they drop from schemas."""

from __future__ import annotations

import re

import pytest

from rlm_kernel_mcp.context_wire import EXPLORING
from rlm_kernel_mcp.server import descriptions, requests, validation
from rlm_kernel_mcp.server.tools import TABLE, ToolRow


def test_the_instructions_say_when_to_use_the_server_before_clients_cut() -> None:
    """Some show 250 characters, some 2,048."""
    assert len(descriptions.INSTRUCTIONS) < len(descriptions.INSTRUCTIONS_ASKING) <= 2_048
    first = descriptions.INSTRUCTIONS[:250]
    assert "too large" in first
    assert "kernel" in first


def test_the_instructions_teach_the_way_from_a_look_to_a_cited_answer() -> None:
    """In this order, by names that a session has."""
    places = [descriptions.INSTRUCTIONS.index(f"{name}(") for name in ("look", "search", "count", "cite")]
    assert places == sorted(places)
    called = set(re.findall(r"\b([a-z]+)\(", descriptions.INSTRUCTIONS))
    assert called <= set(EXPLORING) | {"help"}
    assert "CITATION_MISMATCH" in descriptions.INSTRUCTIONS
    assert "quotes" in validation.input_schema(requests.Finalize)["properties"]


def test_the_instructions_teach_in_a_line_how_code_asks_and_what_is_to_be_done_about_it() -> None:
    """Where somebody answers; else they name neither."""
    (line,) = [line for line in descriptions.INSTRUCTIONS_ASKING.splitlines() if "llm_query_batched" in line]
    assert "code finds where, the model says what it means" in line
    assert "`needs_answers`: its code asks you; go on with rlm_answer." in descriptions.INSTRUCTIONS_ASKING
    assert not re.search("llm_query|needs_answers|__", descriptions.INSTRUCTIONS)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_description_is_whole_where_clients_cut(row: ToolRow) -> None:
    """Claude Code cuts at 2,048 characters."""
    assert len(row.description) <= 2_048


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_defaults_and_limits_stand_in_the_description(row: ToolRow) -> None:
    """Codex drops default, minimum and maximum from the schema."""
    for name, schema in validation.input_schema(row.request)["properties"].items():
        for bound in ("default", "maximum"):
            value = schema.get(bound)
            if isinstance(value, int) and 0 < value < 10**15 and name not in ("step_index", "from_step", "to_step"):
                assert re.search(rf"\b{value}\b", row.description), (name, bound)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_shape_of_the_answer_stands_in_the_description(row: ToolRow) -> None:
    """There is no outputSchema to read it from."""
    assert "{ok: true, data}" in row.description
    assert row.listed().output_schema is None
    assert "}" in row.description.splitlines()[-1]


def test_names_are_short_and_safe_for_every_client() -> None:
    """Snake case, one prefix, at most 40 characters."""
    assert all(re.fullmatch(r"rlm_[a-z_]{3,36}", row.name) for row in TABLE)


def test_where_nobody_answers_a_client_reads_nothing_of_questions() -> None:
    """A thousand characters that its model would pay for; all else is the same."""
    told = {row.name: row.listed().description or "" for row in TABLE}
    untold = {row.name: row.listed(is_answered=False).description or "" for row in TABLE}
    assert sum(map(len, told.values())) - sum(map(len, untold.values())) > 900
    for name in ("rlm_init_context", "rlm_run_repl", "rlm_await_step", "rlm_interrupt"):
        assert "subcalls" in told[name]
        assert not re.search("subcall|needs_answers|rlm_answer|__", untold[name])
        assert (untold[name].count("{"), untold[name][-1]) == (untold[name].count("}"), "}")
    others = told.keys() - {"rlm_init_context", "rlm_run_repl", "rlm_await_step", "rlm_interrupt"}
    assert {name: told[name] for name in others} == {name: untold[name] for name in others}


def test_where_an_endpoint_answers_the_agent_is_not_told_to() -> None:
    """Only a function that it offers itself is its own to answer; the code may ask all the same."""
    told = descriptions.instructions(asks_models=True, is_answered=True)
    assert "llm_query_batched" in told
    assert "needs_answers" not in told
    (run,) = [row.listed(asks_models=True).description or "" for row in TABLE if row.name == "rlm_run_repl"]
    assert "that is you" not in run
    assert 'Status "needs_answers" (with host_functions alone)' in run
    assert "subcalls" in run
