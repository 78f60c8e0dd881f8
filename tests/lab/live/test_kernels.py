"""`rlm-kernel-mcp lab` over REST and WebSocket: live sessions as kernels, whom each belongs to, and nothing besides."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, Final

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from rlm_kernel_mcp.session.parked.reports import AnswerGiven, Handed
from rlm_kernel_mcp.session.registry import Registry
from tests.escape.cases import read_corpus
from tests.lab.home import LOCKED, STOCK
from tests.lab.lab_server import LabKernel, Message
from tests.lab.live.serving import LiveServer, kernel_id_of
from tests.sessions import WAIT_S, SessionDriver

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
TYPES: Final = {
    "status", "execute_input", "stream", "display_data", "update_display_data", "execute_result", "error",
}  # fmt: skip
"""Of messages that a page is sent while a cell runs."""


def texts(said: list[Message]) -> str:
    """What a cell printed, and the text of what it displayed."""
    contents = [one["content"] for one in said]
    return "".join(one.get("text") or one.get("data", {}).get("text/plain", "") for one in contents)


async def test_a_live_session_is_listed_by_its_id_and_comes_and_goes_by_itself(
    lab: LiveServer, registry: Registry
) -> None:
    """A page that is on its kernel hears of its end."""
    agent = await SessionDriver.open(registry)
    await lab.until_listed(kernel_id_of(agent))
    listed = (await lab.listed())[kernel_id_of(agent)]
    assert listed["id"].partition("-")[0] == agent.session_id
    assert (listed["name"], listed["execution_state"]) == (LOCKED, "idle")
    async with lab.page_on(agent) as page:
        await agent.finalize(text="done")
        await lab.until_listed(kernel_id_of(agent), there=False)
        assert (await last_of(page))["content"] == {"execution_state": "dead"}


async def last_of(page: LabKernel) -> Message:
    """The last message before the connection is closed."""
    last: Message | None = None
    async for message in page.messages():
        last = message
    assert last is not None
    return last


async def test_a_persons_cell_runs_in_the_agents_kernel_and_is_recorded_as_console(
    lab: LiveServer, agent: SessionDriver
) -> None:
    await agent.ok("found = [1, 2]")
    async with lab.page_on(agent) as page:
        said, reply = await page.execute("more = len(found) + 40\nprint('seen')\nmore")
        assert (reply["status"], texts(said)) == ("ok", "seen\n42")
        completed = await page.ask("complete_request", code="mor", cursor_pos=3)
        assert "more" in completed["matches"]
        inspected = await page.ask("inspect_request", code="more", cursor_pos=2, detail_level=0)
        assert "int" in inspected["data"]["text/plain"]
        _, reply = await page.execute("input('Name? ')")
        assert reply["status"] == "ok"
        info = await page.ask("kernel_info_request")
        assert (info["help_links"], info["language_info"]["name"]) == ([], "python")
    report = await agent.ok("more")
    assert (report.result, report.step_index) == ("42", 2)
    (cell,) = [one for one in await agent.trace() if one.source == "console" and "seen" in (one.code or "")]
    assert cell.stdout == "seen\n"


async def test_an_interrupt_reaches_the_persons_own_cell(lab: LiveServer, agent: SessionDriver) -> None:
    async with lab.page_on(agent) as page:
        endless = await page.send("execute_request", {"code": "print('begun', flush=True)\nwhile True: len('')"})
        async for message in page.messages_of(endless):
            if message["header"]["msg_type"] == "stream":
                break
        interrupted, _ = await lab.status("POST", f"api/kernels/{page.kernel_id}/interrupt")
        assert interrupted == 204
        _, reply = await page.whole(endless)
        assert reply["ename"] == "KeyboardInterrupt"
        _, reply = await page.execute("1")
        assert reply["status"] == "ok"


async def test_an_interrupt_reaches_a_cell_whose_page_was_opened_anew(lab: LiveServer, agent: SessionDriver) -> None:
    """A page that is loaded again has other connections, and its cell runs on."""
    async with lab.page_on(agent) as before:
        endless = await before.send("execute_request", {"code": "print('begun', flush=True)\nwhile True: len('')"})
        async for message in before.messages_of(endless):
            if message["header"]["msg_type"] == "stream":
                break
    async with lab.page_on(agent) as page:
        await page.ask("kernel_info_request")  # answered once it hears of the kernel
        assert (await lab.status("POST", f"api/kernels/{page.kernel_id}/interrupt"))[0] == 204
        async for message in page.messages_of(endless):
            if message["header"]["msg_type"] == "error":
                break
        assert message["content"]["ename"] == "KeyboardInterrupt"
        _, reply = await page.execute("1")
        assert reply["status"] == "ok"


async def test_an_interrupt_never_reaches_the_agents_step(lab: LiveServer, agent: SessionDriver) -> None:
    """It takes back the person's cells that wait for it; one that is taken back too late is interrupted."""
    async with lab.page_on(agent) as page:
        asked = await agent.run("llm_query('Which?')")
        assert asked.questions is not None
        assert (await lab.status("POST", f"api/kernels/{page.kernel_id}/interrupt"))[0] == 204
        waiting = await page.send("execute_request", {"code": "ran = True\nwhile True: len('')"})
        info = await page.ask("kernel_info_request")
        assert info["status"] == "ok", "a page connects while a step runs"
        assert (await lab.status("POST", f"api/kernels/{page.kernel_id}/interrupt"))[0] == 204
        answers = Handed((AnswerGiven(asked.questions.items[0].id, "this"),), wait_ms=int(WAIT_S * 1000))
        async with asyncio.timeout(WAIT_S):
            done = await agent.registry.answer(agent.session_id, answers)
        assert (done.status, done.result) == ("ok", "'this'")
        _, reply = await page.whole(waiting)
        assert reply["status"] == "aborted" or reply["ename"] == "KeyboardInterrupt"


async def test_it_is_not_restarted_or_shut_down_from_here_and_stays_listed(
    lab: LiveServer, agent: SessionDriver
) -> None:
    """In words, whichever way a page asks; a document may leave it all the same."""
    await agent.ok("kept = 41")
    kernel = kernel_id_of(agent)
    await lab.until_listed(kernel)
    document = await lab.ask("POST", "sessions", path="x.ipynb", name="x", type="notebook", kernel={"id": kernel})
    for method, path in (
        ("POST", f"api/kernels/{kernel}/restart"),
        ("DELETE", f"api/kernels/{kernel}"),
        ("DELETE", f"api/sessions/{document['id']}"),
    ):
        code, body = await lab.status(method, path)
        assert code == 409
        assert f"`rlm-kernel-mcp kill {agent.session_id}`" in body
    assert kernel in await lab.listed()
    moved, _ = await lab.status("PATCH", f"api/sessions/{document['id']}", kernel={"name": LOCKED})
    assert moved == 200
    assert (await lab.status("DELETE", f"api/sessions/{document['id']}"))[0] == 204
    assert kernel in await lab.listed()
    assert (await agent.ok("kept")).result == "41"


async def test_a_kernel_that_is_replaced_is_the_same_one_to_a_page(lab: LiveServer, agent: SessionDriver) -> None:
    """The page hears that it restarts, and connects anew."""
    await agent.ok("kept = 41")
    async with lab.page_on(agent) as page:
        os.kill(agent.kernel.process.pid, signal.SIGKILL)
        await agent.run("1")
        said = await last_of(page)
        assert said["content"]["execution_state"] in ("restarting", "dead")
        await lab.until_listed(page.kernel_id)
        page.close()
        await page.connect()
        said_now, reply = await page.execute("kept")
        assert (reply["status"], texts(said_now)) == ("ok", "41")


async def test_a_kernel_of_its_own_is_locked_and_is_the_persons(lab: LiveServer) -> None:
    async with lab.kernel(LOCKED) as own:
        said, reply = await own.execute("from IPython.display import HTML\nHTML('<b>bold</b>')")
        assert reply["status"] == "ok"
        (shown,) = [one["content"]["data"] for one in said if one["header"]["msg_type"] == "execute_result"]
        assert list(shown) == ["text/plain"]
        _, reply = await own.execute("open('/etc/passwd')")
        assert reply["status"] == "error"
        assert (await lab.status("POST", f"api/kernels/{own.kernel_id}/restart"))[0] == 200


async def test_nothing_unlocked_can_be_reached(lab: LiveServer) -> None:
    """No terminal, no other kernel whatever its name, no file, no extension."""
    assert set((await lab.ask("GET", "kernelspecs"))["kernelspecs"]) <= {LOCKED, "rlm-python-data"}
    before = await lab.listed()
    for name in (STOCK, "python", "ir", "../python3", "PYTHON3"):
        code, body = await lab.status("POST", "api/kernels", name=name)
        assert (code, "There is no kernel" in body) == (404, True)
        code, _ = await lab.status(
            "POST", "api/sessions", path="y.ipynb", name="y", type="notebook", kernel={"name": name}
        )
        assert code >= 400
    assert (await lab.listed()).keys() == before.keys()
    for path in (
        "api/terminals",
        "terminals/1",
        "api/nbconvert",
        "lsp/status",
        "files/x",
        "view/x",
        "nbconvert/html/x",
    ):
        assert (await lab.status("GET", path))[0] == 404, path
    assert (await lab.status("POST", "api/terminals"))[0] in (404, 405)
    for method in ("GET", "DELETE", "POST"):  # JupyterLab builds itself anew by it, in core mode too
        assert (await lab.status(method, "lab/api/build"))[0] == 404, method
    contents = await lab.ask("GET", "contents")
    assert [one["name"] for one in contents["content"]] == []
    for path in ("api/contents/../../etc/passwd", "api/contents/%2e%2e/%2e%2e/etc/passwd", "api/contents/.hidden"):
        assert (await lab.status("GET", path))[0] in (400, 403, 404), path


async def test_it_is_for_who_has_its_token_on_this_machine(lab: LiveServer) -> None:
    """Not for another page of the browser, nor by another name of the machine."""
    assert (await lab.status("GET", "api/kernels", headers={}))[0] == 403
    assert (await lab.status("GET", "api/kernels", headers={**lab.headers, "Host": "evil.example"}))[0] == 403
    refused, _ = await lab.status("POST", "api/kernels", headers={"Origin": "http://evil.example"}, name=LOCKED)
    assert refused in (403, 404)
    _, page = await lab.status("GET", "lab")
    assert "jupyter-config-data" in page


@pytest.mark.parametrize("path", ["lab", "lab/workspaces/mine", "static/favicons/favicon.ico"])
async def test_a_page_may_ask_this_server_and_no_other(lab: LiveServer, path: str) -> None:
    """The second line behind what is taken out of messages: what would act there all the same has nobody to tell."""
    request = HTTPRequest(f"{lab.url}{path}", headers=lab.headers, request_timeout=WAIT_S)
    (policy,) = (await AsyncHTTPClient().fetch(request)).headers.get_list("Content-Security-Policy")
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert {"default-src": "'self'", "object-src": "'none'", "base-uri": "'none'"}.items() <= directives.items()
    assert {"form-action": "'self'", "frame-ancestors": "'self'"}.items() <= directives.items()
    said = {source for sources in directives.values() for source in sources.split()}
    assert said == {"'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:"}


def kinds(message: Message) -> set[str]:
    """As what a page is sent something to show."""
    content: dict[str, Any] = message["content"]
    return {*content.get("data", {}), *(kind for one in content.get("payload", ()) for kind in one["data"])}


@pytest.mark.parametrize("name", ["krn-forge-displays", "krn-forge-page"])
async def test_what_a_kernel_forges_for_a_page_is_text_or_nothing(
    lab: LiveServer, agent: SessionDriver, name: str
) -> None:
    """Whatever type it is sent as, on whatever channel; the cell ends, and the next one runs."""
    (case,) = [case for case in read_corpus() if case.name == name]
    async with lab.page_on(agent) as page:
        for step in case.filled({"CANARY_PORT": "9"}):
            said, reply = await page.execute(step)
            assert reply["status"] == "ok", reply
            assert {one["header"]["msg_type"] for one in said} <= TYPES
            assert {kind for one in said for kind in kinds(one)} <= {"text/plain"}
            assert [one for one in said if one["metadata"] or one["buffers"]] == []
            assert len({one["header"]["session"] for one in said}) == 1
            assert [one["source"] for one in reply["payload"]] in ([], ["page"])
            assert reply["user_expressions"] == {}
            assert "sent" in texts(said)
            assert "\x1b" not in texts(said)
        said, reply = await page.execute("6 * 7")
        assert texts(said) == "42"
