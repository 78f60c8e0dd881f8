"""What the live page asks for is answered by the record, within bounds, and nothing it asks for reaches a file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from rlm_kernel_mcp.kernel.untrusted.shown.displays import Display
from rlm_kernel_mcp.session.reports import LossReport, StepError, Variable
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.watching.messages.answers import PIECE_CHARS
from rlm_kernel_mcp.watching.web.app import app_of
from rlm_kernel_mcp.watching.web.gate import DATA_POLICY
from rlm_kernel_mcp.watching.web.static_files import served_files
from tests.unit.watching.recorded import Recorded


@pytest.fixture
def client(store: Store, tmp_path: Path) -> TestClient:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "index.html").write_text("<!doctype html>")
    (tmp_path / "static" / "app.js").write_text("export {};")
    return TestClient(app_of(store, {"RLM_HOST": "off"}, served_files(tmp_path / "static")))


def told(text: str) -> list[Any]:
    """The messages of a stream."""
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def test_the_page_s_files_are_served_and_no_others(client: TestClient) -> None:
    assert client.get("/").text == "<!doctype html>"
    assert client.get("/app.js").headers["content-type"] == "text/javascript; charset=utf-8"
    for path in (
        "/../sessions.db",
        "/%2e%2e/sessions.db",
        "/..%2fsessions.db",
        "/sessions.db",
        "//etc/passwd",
        "/static",
    ):
        assert client.get(path).status_code == 404, path


def test_a_stream_has_ids_and_says_when_to_come_back(session: Recorded, client: TestClient) -> None:
    session.step()
    session.finalize()
    lines = client.get("/api/s/s_1/events").text.splitlines()
    assert lines[0] == "retry: 2000"
    ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    events = [event for message in told("\n".join(lines)) if message["type"] == "events" for event in message["events"]]
    assert ids[-1] == events[-1]["id"]


@pytest.mark.parametrize("by_header", [True, False], ids=["header", "address"])
def test_a_stream_goes_on_after_an_id(session: Recorded, client: TestClient, by_header: bool) -> None:
    first, second = session.step(), session.step()
    session.finalize()
    headers = {"last-event-id": str(first)} if by_header else {}
    found = told(client.get("/api/s/s_1/events" + ("" if by_header else f"?after={first}"), headers=headers).text)
    events = [event for message in found if message["type"] == "events" for event in message["events"]]
    assert found[0]["type"] == "head"
    assert [event["type"] for event in events] == ["step", "final"]
    assert events[0]["id"] == str(second)


@pytest.mark.parametrize("after", ["-1", "x", "1" * 40, "1;2", "é"], ids=range(5))
def test_after_an_id_that_is_none_all_of_it_is_told(session: Recorded, client: TestClient, after: str) -> None:
    session.step()
    session.finalize()
    found = told(client.get("/api/s/s_1/events", params={"after": after}).text)
    assert sum(len(message["events"]) for message in found if message["type"] == "events") == 2


@pytest.mark.parametrize("path", ["events", "names", "map", "documents", "documents?at=1", "text?event=1&field=code"])
def test_of_a_session_that_nobody_knows_there_is_nothing(client: TestClient, path: str) -> None:
    assert client.get(f"/api/s/s_2/{path}").status_code == 404
    assert client.get(f"/api/s/%2e%2e/{path}").status_code == 404
    assert client.get(f"/api/s/{'x' * 65}/{path}").status_code == 404


def test_all_of_a_text_comes_in_pieces(session: Recorded, client: TestClient) -> None:
    text = "é" * PIECE_CHARS + "end"
    event = session.step("1", stdout=text, error=StepError("E", "value", "back"))
    first = client.get(f"/api/s/s_1/text?event={event}&field=stdout").json()
    rest = client.get(f"/api/s/s_1/text?event={event}&field=stdout&from={first['next']}").json()
    assert first["text"] + rest["text"] == text
    assert rest["next"] is None
    assert client.get(f"/api/s/s_1/text?event={event}&field=traceback").json()["text"] == "back"
    assert client.get(f"/api/s/s_1/text?event={event}&field=evalue").json()["text"] == "value"
    session.finalize("the answer")
    final = session.store.heads("s_1")[-1].row.id
    assert client.get(f"/api/s/s_1/text?event={final}&field=answer").json()["text"] == "the answer"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "event=1",
        "event=x&field=code",
        "event=1&field=extra",
        "event=1&field=code&from=-1",
        f"event={10**30}&field=code",
    ],
)
def test_a_question_that_makes_no_sense_is_refused(client: TestClient, query: str) -> None:
    answer = client.get(f"/api/s/s_1/text?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_picture_is_served_as_one_and_acts_in_nothing(session: Recorded, client: TestClient) -> None:
    shown = (
        Display("image/png", base64.b64encode(b"picture").decode(), 1),
        Display("image/svg+xml", "<svg/>", 1),
        Display("text/html", "<b>\ud800", 2),
    )
    event = session.step(displays=shown)
    answers = [client.get(f"/api/s/s_1/image/{event}-{number}") for number in range(3)]
    assert [answer.headers["content-type"] for answer in answers] == [
        "image/png",
        "image/svg+xml",
        "text/plain; charset=utf-8",
    ]
    assert {answer.headers["content-security-policy"] for answer in answers} == {DATA_POLICY}
    assert [answers[0].content, answers[2].text] == [b"picture", "<b>?"]
    for other in (f"{event}-3", f"{event}", "x", "1-1", f"{10**18}-1", f"{10**19}-1"):
        assert client.get(f"/api/s/s_1/image/{other}").status_code == 404


def test_a_drawing_at_whose_end_no_browser_comes_is_no_picture(session: Recorded, client: TestClient) -> None:
    """Each level is the one before it, twice."""
    levels = "".join(f"<g id='n{n + 1}'><use href='#n{n}'/><use href='#n{n}'/></g>" for n in range(30))
    event = session.step(displays=(Display("image/svg+xml", f"<svg><path id='n0'/>{levels}</svg>", 1),))
    answer = client.get(f"/api/s/s_1/image/{event}-0")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-security-policy"] == DATA_POLICY


def test_the_source_of_what_a_step_displayed_is_read_in_pieces(session: Recorded, client: TestClient) -> None:
    """Of a picture there is none."""
    source = "<b>" * 30_000
    shown = (Display("text/html", source, 1), Display("image/png", base64.b64encode(b"picture").decode(), 1))
    event = session.step(displays=shown)
    first = client.get(f"/api/s/s_1/text?event={event}&field=shown-0").json()
    rest = client.get(f"/api/s/s_1/text?event={event}&field=shown-0&from={first['next']}").json()
    assert (first["text"] + rest["text"], rest["next"], first["chars"]) == (source, None, len(source))
    assert client.get(f"/api/s/s_1/text?event={event}&field=shown-1").json()["text"] == ""
    for other in (f"event={event}&field=shown-2", "event=1&field=shown-0"):
        assert client.get(f"/api/s/s_1/text?{other}").status_code == 404


def test_names_are_listed_with_what_a_restore_made_of_them(session: Recorded, client: TestClient) -> None:
    session.step(updated=(Variable("x", "int", None), Variable("y", "list", 3)))
    session.restore(LossReport("killed", (("x", "restored as it was after step 1"), ("y", "it cannot be kept")), ()))
    session.step(updated=(Variable("z", "str", 1),))
    names = client.get("/api/s/s_1/names").json()
    assert [(one["name"], one["step"], one.get("fate")) for one in names["names"]] == [
        ("z", 2, None),
        ("y", 1, "gone"),
        ("x", 1, "older"),
    ]


def test_files_are_asked_for_elsewhere(client: TestClient) -> None:
    assert client.get("/api/s/s_1/files").json()["words"].startswith("rlm-kernel-mcp files s_1")


def test_a_map_that_was_not_tracked_says_so(client: TestClient) -> None:
    assert client.get("/api/s/s_1/map?bins=99999999").json()["searched"] is None
    assert client.get("/api/s/s_1/documents?read=5").json() == {"documents": [], "read": 0, "total": 0}
    assert client.get("/api/s/s_1/documents?at=5").json() is None
    assert client.get("/api/s/s_1/map?context=other").status_code == 404


def test_a_map_has_the_contexts_that_have_come_since_it_was_asked_for_first(
    session: Recorded, client: TestClient
) -> None:
    """One is loaded now, and one was added."""
    assert client.get("/api/s/s_1/map").json()["to"] == 0
    added = {"source": {"name": "more"}, "report": {"name": "more", "chars": 30}}
    session.store.update_session(
        "s_1", context='{"name": "context", "chars": 20}', context_ref=json.dumps({"added": [added]})
    )
    assert client.get("/api/s/s_1/map?context=context").json()["to"] == 20
    assert client.get("/api/s/s_1/map?context=more").json()["to"] == 30


def test_sessions_are_listed(session: Recorded, client: TestClient) -> None:
    assert [row["id"] for row in client.get("/api/sessions").json()["sessions"]] == ["s_1"]
    assert client.get("/api/sessions?before=2000").json()["sessions"] == []
