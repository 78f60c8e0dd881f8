"""A model that follows a script: an OpenAI Responses endpoint on loopback, for driving the real Codex.

Is: the four server-sent events that Codex needs, and a script that yields what the model says and receives
what Codex then sends. Is not: a model. A script is a generator, so a conversation reads from top to bottom:

    request = yield [call("rlm_init_context", {...})]
    (opened,) = results_of(request)
    return "the last message"

Source: the events that codex-cli 0.169.0 was seen to need.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Item = dict[str, Any]
Request = dict[str, Any]
Script = Generator[list[Item], Request, str]

USAGE = {
    "input_tokens": 1,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 1,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 2,
}
_numbers = itertools.count(1)


def call(tool: str, arguments: dict[str, object], server: str = "rlm") -> Item:
    """A classic call of an MCP tool; Codex knows it by namespace and name, not by a flat name."""
    return function(f"mcp__{server}", tool, arguments)


def function(namespace: str, name: str, arguments: dict[str, object]) -> Item:
    """A call of any function, such as Codex's own for sub-agents."""
    return {
        "type": "function_call",
        "id": f"fc_{next(_numbers)}",
        "call_id": f"call_{next(_numbers)}",
        "namespace": namespace,
        "name": name,
        "arguments": json.dumps(arguments),
        "status": "completed",
    }


def javascript(program: str) -> Item:
    """A call of code mode's `exec`, where MCP tools are functions of `tools`."""
    return {
        "type": "custom_tool_call",
        "id": f"ctc_{next(_numbers)}",
        "call_id": f"call_{next(_numbers)}",
        "namespace": "functions",
        "name": "exec",
        "input": program,
        "status": "completed",
    }


def say(text: str) -> Item:
    """The assistant's message, which ends a turn."""
    return {
        "type": "message",
        "id": f"msg_{next(_numbers)}",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


def results_of(request: Request) -> list[str]:
    """The texts that the model received for its latest call, less the header that Codex puts above them.

    A classic call has one; in code mode each `text(...)` of the program is one.
    """
    output = [item for item in request["input"] if item["type"].endswith("_call_output")][-1]["output"]
    if isinstance(output, str):
        return [output.partition("Output:\n")[2]]
    return [part["text"] for part in output[1:]]


def told(request: Request) -> str:
    """What whoever asks the model was told by its user, or by the agent that has started it."""
    spoken = [one for one in request["input"] if one.get("role") == "user" or one.get("type") == "agent_message"]
    return json.dumps(spoken)


@dataclass
class ScriptedModel:
    """The endpoint; a context manager that serves while it is entered.

    Attributes:
        requests: every request body, in order.
        failure: what the script raised; the test raises it again (`finish`).
        on_request: called at each request, while Codex waits for the model: a moment at which all its processes live.
        on_end: called when the script ends, before its last message is sent.
    """

    script: Script
    on_request: Callable[[], None]
    on_end: Callable[[], None]
    agents: Mapping[str, Script] = field(default_factory=dict)
    """Scripts of sub-agents, each by a word in the message that it is started with, which nobody else is told."""
    requests: list[Request] = field(default_factory=list)
    _begun: set[str] = field(default_factory=set)
    stray_paths: list[str] = field(default_factory=list)
    failure: BaseException | None = None
    finished: bool = False

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _endpoint(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def next_items(self, request: Request) -> list[Item]:
        """What the model says to this request; a script that ended or failed says a last message, and Codex is done."""
        self.on_request()
        self.requests.append(request)
        words = told(request) if self.agents else ""
        name = next((one for one in self.agents if one in words), "")
        script, is_first = self.agents.get(name, self.script), name not in self._begun
        self._begun.add(name)
        try:
            return next(script) if is_first else script.send(request)
        except StopIteration as end:
            if not name:
                self.finished = True
                self.on_end()
            return [say(end.value)]
        except BaseException as failure:  # noqa: BLE001 - carried from the endpoint's thread to the test's
            self.failure = failure
            return [say("the script has failed")]

    def finish(self, log: str) -> None:
        """Raise what the script raised; hold that Codex came to the script's end and asked for nothing else."""
        if self.failure is not None:
            raise self.failure
        assert self.finished, f"Codex stopped asking before the script's end: {log}"
        assert self.stray_paths == []


def _endpoint(model: ScriptedModel) -> type[BaseHTTPRequestHandler]:
    class Endpoint(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Keep the test's output free of access logs."""

        def do_GET(self) -> None:
            self._stray()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path != "/v1/responses":
                self._stray()
                return
            items = model.next_items(json.loads(body))
            with contextlib.suppress(ConnectionError):  # a killed Codex does not listen to its last message
                self._answer(items)

        def _answer(self, items: list[Item]) -> None:
            identity = f"resp_{len(model.requests)}"
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self._event("response.created", response={"id": identity})
            for index, item in enumerate(items):
                self._event("response.output_item.added", output_index=index, item={**item, "status": "in_progress"})
                self._event("response.output_item.done", output_index=index, item=item)
            done = {"id": identity, "status": "completed", "output": items, "usage": USAGE}
            self._event("response.completed", response=done)

        def _event(self, kind: str, **fields: object) -> None:
            self.wfile.write(f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode())
            self.wfile.flush()

        def _stray(self) -> None:
            model.stray_paths.append(f"{self.command} {self.path}")
            self.send_error(404)

    return Endpoint
