"""A client waits for the reply to each request, so also one that makes no sense gets one; and what it says is true."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.client import Client, Content, started

pytestmark = pytest.mark.slow

Requests = list[tuple[str, list[Any]]]
SENSELESS: Final[Requests] = [
    ("execute", [{"code": 5}, {"code": True}, {"code": None}, {"code": ["1"]}, {"code": {"a": 1}}, {}, [], "x", None]),
    ("complete", [{}, [], {"code": 5, "cursor_pos": 0}, {"code": "pri"}]),
    ("complete", [{"code": "pri", "cursor_pos": place} for place in ("x", 1.5, 99, -9)]),
    ("inspect", [{}, [], {"code": 5, "cursor_pos": 0}, {"code": "print"}]),
    ("inspect", [{"code": "print", "cursor_pos": place} for place in ("x", None)]),
    ("inspect", [{"code": "print", "cursor_pos": 3, **part} for part in ({"detail_level": "x"}, {"omit_sections": 5})]),
    ("history", [[], "x", None]),
    ("is_complete", [{}, [], {"code": 5}, {"code": None}]),
    ("comm_info", [[], "x"]),
]
TOLERATED: Final[Requests] = [
    ("execute", [{"code": "1", **part} for part in ({"user_expressions": 5}, {"silent": "x"}, {"allow_stdin": "no"})]),
    ("complete", [{"code": "pri", "cursor_pos": None}]),
    ("inspect", [{"code": "print", "cursor_pos": 99}]),
    ("history", [{"hist_access_type": kind, "n": "x", "start": []} for kind in ("tail", "range", 5, None)]),
    ("history", [{}, {"hist_access_type": "search", "pattern": 5}]),
    ("comm_info", [{"target_name": 5}, {"target_name": []}]),
    ("kernel_info", [[], 5]),
]
ON_CONTROL: Final[Requests] = [("interrupt", [[], 5]), ("kernel_info", [None]), ("usage", [[]])]


def single(requests: Requests) -> list[tuple[str, Any]]:
    return [(request, content) for request, contents in requests for content in contents]


def send(kernel: Client, request: str, content: Any, channel: str = "shell", metadata: Any = None) -> str:
    """Send a request with any content and metadata; returns its id."""
    session = kernel.client.session
    body = content if isinstance(content, dict) else json.dumps(content).encode()
    message = session.msg(f"{request}_request", body)
    message["metadata"] = {} if metadata is None else metadata
    getattr(kernel.client, f"{channel}_channel").send(message)
    return str(message["header"]["msg_id"])


def answer(kernel: Client, request: str, content: Any) -> Content:
    return kernel.end(send(kernel, request, content)).reply


@pytest.fixture(scope="module", params=["rlm-python", "rlm-any"])
def ours(request: pytest.FixtureRequest) -> Any:
    """Ours alone: the stock kernel logs most of these requests and answers none of them."""
    with tempfile.TemporaryDirectory(prefix="rlm-") as directory, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", directory)
        policy = {"imports": {"mode": "any"}} if request.param == "rlm-any" else {}
        with started("rlm-python", Path(directory), **policy) as client:
            yield client


@pytest.mark.parametrize(("request_type", "content"), single(SENSELESS))
def test_a_senseless_request_is_answered_with_an_error(ours: Client, request_type: str, content: Any) -> None:
    """And the next one is served."""
    reply = answer(ours, request_type, content)
    assert (reply["status"], bool(reply["ename"]), bool(reply["evalue"])) == ("error", True, True)
    assert reply["traceback"] == [f"{reply['ename']}: {reply['evalue']}"]
    assert ours.run("6 * 7").text == "42"


@pytest.mark.parametrize(("request_type", "content"), single(TOLERATED))
def test_what_a_request_can_do_without_is_done_without(ours: Client, request_type: str, content: Any) -> None:
    """Fields of wrong types that have a default."""
    assert answer(ours, request_type, content)["status"] == "ok"


@pytest.mark.parametrize(("request_type", "content"), single(ON_CONTROL))
def test_control_answers_whatever_the_content(ours: Client, request_type: str, content: Any) -> None:
    """Their contents are not looked at."""
    msg_id = send(ours, request_type, content, "control")
    message = ours.client.get_control_msg(timeout=60)
    assert (message["parent_header"]["msg_id"], message["header"]["msg_type"]) == (msg_id, f"{request_type}_reply")


def test_a_cell_with_senseless_metadata_is_answered(ours: Client) -> None:
    """They are a cell's alone."""
    senseless: list[Any] = [[], "x", 5]
    for metadata in senseless:
        reply = ours.end(send(ours, "execute", {"code": "1"}, metadata=metadata)).reply
        assert reply["evalue"] == "the metadata of execute_request must be a JSON object"


def test_a_shutdown_that_cannot_be_read_is_refused(ours: Client) -> None:
    """The kernel lives on."""
    senseless: list[Any] = [{}, [], 5]
    for content in senseless:
        msg_id = send(ours, "shutdown", content, "control")
        message = ours.client.get_control_msg(timeout=60)
        assert (message["parent_header"]["msg_id"], message["content"]["status"]) == (msg_id, "error")
    assert ours.run("6 * 7").text == "42"


def test_a_cell_whose_code_is_no_text_fails_as_a_cell(kernel: Client) -> None:
    """As on the stock kernel: an error, no number taken, and what waits behind it is aborted."""
    number = kernel.run("1").reply["execution_count"]
    wrong = send(kernel, "execute", {"code": 5})
    assert kernel.end(wrong).reply["status"] == "error"
    assert kernel.run("1").reply["execution_count"] == number + 1


def test_a_cell_whose_code_is_no_text_says_so_and_stops_what_waits(ours: Client) -> None:
    """As every cell that fails."""
    begun = ours.begin("import time; time.sleep(0.1)")
    wrong, behind = send(ours, "execute", {"code": None}), ours.begin("print('never')")
    assert ours.end(begun).reply["status"] == "ok"
    cell = ours.end(wrong)
    assert cell.order == ["error"]
    assert cell.of("error")[0]["evalue"] == "'code' of execute_request must be text" == cell.reply["evalue"]
    assert (cell.reply["user_expressions"], cell.reply["payload"]) == ({}, [])
    assert ours.end(behind).reply["status"] == "aborted"


@pytest.mark.parametrize("options", [{"store_history": False}, {"silent": True}], ids=["unstored", "silent"])
def test_a_cell_that_is_not_counted_has_the_number_of_the_last(kernel: Client, options: dict[str, Any]) -> None:
    """Of the reply."""
    number = kernel.run("1").reply["execution_count"]
    assert kernel.run("1", **options).reply["execution_count"] == number
    assert kernel.run("1 / 0", **options).reply["execution_count"] == number
    assert kernel.run("1").reply["execution_count"] == number + 1


@pytest.mark.parametrize("code", ["input('name? ')", "import getpass; getpass.getpass()"])
def test_input_without_a_person_has_its_usual_name(kernel: Client, code: str) -> None:
    """Code that is written for notebooks knows it by that."""
    assert kernel.run(code).reply["ename"] == "StdinNotImplementedError"
    cell = kernel.run(f"try:\n    {code}\nexcept NotImplementedError: print('nobody')")
    assert cell.stream() == "nobody\n"


@pytest.mark.parametrize(
    ("line", "said"), [("%debug", "frames"), ("%pdb", "frames"), ("%connect_info", "the kernel's key")]
)
def test_a_magic_that_needs_no_process_is_refused_for_its_own_reason(ours: Client, line: str, said: str) -> None:
    """A person may well be at the keyboard."""
    reply = ours.run(line).reply
    assert (reply["ename"], said in reply["evalue"], "process" in reply["evalue"]) == ("MagicRefused", True, False)


@pytest.mark.parametrize("line", ["%nosuchmagic", "%nosuchmagic 1", "%%nosuchmagic\n1"])
def test_a_magic_that_does_not_exist_is_not_refused_by_a_policy(ours: Client, line: str) -> None:
    """There is none."""
    reply = ours.run(line).reply
    assert (reply["ename"], "policy" in reply["evalue"]) == ("UsageError", False)
