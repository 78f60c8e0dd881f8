"""Messages of any size leave a kernel on every channel: large ones take no other way than small ones.

From 64 KiB on Jupyter's Session would send without a copy, and pyzmq start a thread for that, which the walls refuse:
a kernel that died of a long result, or of a context of many documents.
"""

from __future__ import annotations

import json

import pytest

from tests.mcp.line_client import LineClient

LONG = 200_000


@pytest.fixture(scope="module")
def client(workers_client: LineClient) -> LineClient:
    """The worker's server."""
    return workers_client


def test_a_long_result_and_a_long_print_arrive(client: LineClient) -> None:
    """Iopub, by the display hook and by the stream; cut by the server, which says how much."""
    session = client.open_session(budget_limit=10_000_000)
    step = client.run(session, f"print('p' * {LONG}); 'r' * {LONG}", max_output_chars=LONG)
    assert step["status"] == "ok"
    kept = {"stdout": len(step["stdout"]), "result": len(step["result"])}
    assert min(kept.values()) > 64 * 1024, kept


def test_a_long_variable_arrives_as_text_and_as_json(client: LineClient) -> None:
    """The control channel's binary frame."""
    session = client.open_session(budget_limit=10_000_000)
    client.run(session, f"text = 't' * {LONG}; numbers = list(range(20_000))")
    text = client.data("rlm_get_var", session_id=session, var_name="text", limit=LONG)
    numbers = client.data("rlm_get_var", session_id=session, var_name="numbers", limit=LONG)
    assert text["value"] == "t" * LONG
    assert numbers["value"] == list(range(20_000))


def test_a_step_that_binds_thousands_of_names_ends_well(client: LineClient) -> None:
    """The reply on the shell channel names what was bound."""
    session = client.open_session(budget_limit=10_000_000)
    code = "\n".join(f"a_rather_long_name_{number} = {number}" for number in range(5_000))
    assert client.run(session, code)["status"] == "ok"
    assert client.run(session, "a_rather_long_name_4999")["result"] == "4999"


def test_thousands_of_documents_are_loaded(client: LineClient) -> None:
    """The answer to loading names every document."""
    directory = client.directory / "many"
    directory.mkdir()
    for number in range(2_500):
        (directory / f"a_document_with_a_long_name_{number:05}.txt").write_text("x\n")
    context = client.data("rlm_init_context", context_paths=["many"])["context"]
    assert (context["document_count"], context["chars"]) == (2_500, 5_000)
    assert len(json.dumps(context)) < 3_000
