"""A user's own model in a small loop: it is shown our server's tools, and calls them until it has finalized.

Is: Chat Completions with tools, over any endpoint that speaks them; each tool's result goes back as it came. Is not: a
good agent: no plan, no compaction, no retry but the client library's own.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

from bench.dense.agents.job import Job, Missing, Used
from tests.mcp.line_client import LineClient, text_of

TURNS = 60
ANSWER_S = 900.0
"""A tool may wait for a step as long as its `wait_ms` says, which is ten minutes at most."""


class Loop:
    """One model, job after job."""

    def __init__(self, model: str, turns: int = TURNS) -> None:
        """Raises: Missing, where the client library is, or its key."""
        self.name = f"loop ({model})"
        try:
            self._library: Any = importlib.import_module("openai")
        except ModuleNotFoundError:
            raise Missing("The package openai is missing; this brings it: bin/setup --with openai") from None
        try:
            self._endpoint = self._library.OpenAI()
        except self._library.OpenAIError as error:
            raise Missing(f"No endpoint: {error} OPENAI_BASE_URL names one, and OPENAI_API_KEY its key.") from None
        self._model, self._turns = model, turns

    def run(self, job: Job) -> Used:
        """One conversation, with a server of its own."""
        client = LineClient(job.directory, job.settings, keeps=False)
        client.wait_s = ANSWER_S
        try:
            instructions = client.initialize().get("instructions", "")
            tools = client.request("tools/list", {})["result"]["tools"]
            return self._converse(client, job, instructions, tools)
        finally:
            client.kill()

    def _converse(self, client: LineClient, job: Job, instructions: str, tools: list[dict[str, Any]]) -> Used:
        used = Used()
        messages: list[Any] = [{"role": "system", "content": instructions}, {"role": "user", "content": job.prompt}]
        offered = [{"type": "function", "function": _function(tool)} for tool in tools]
        for _ in range(self._turns):
            try:
                reply = self._endpoint.chat.completions.create(model=self._model, messages=messages, tools=offered)
            except self._library.OpenAIError as error:
                used.failure = f"the endpoint: {error}"[:400]
                return used
            message = reply.choices[0].message
            used.calls += 1
            if reply.usage is not None:
                used.tokens_in += reply.usage.prompt_tokens
                used.tokens_out += reply.usage.completion_tokens
            used.said = message.content or used.said
            if not message.tool_calls:
                return used
            messages.append(message.model_dump(exclude_none=True))
            for call in message.tool_calls:
                content, is_final = _called(client, call.function.name, call.function.arguments)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
                if is_final:
                    return used
        used.failure = f"no answer in {self._turns} turns"
        return used


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    return {"name": tool["name"], "description": tool["description"], "parameters": tool["inputSchema"]}


def _called(client: LineClient, tool: str, arguments: str) -> tuple[str, bool]:
    """What a tool answered, and whether that ended the session."""
    try:
        given = json.loads(arguments or "{}")
    except ValueError as error:
        return f"The arguments are no JSON: {error}", False
    answered = client.answer(client.begin(tool, given))
    if "result" not in answered:
        return json.dumps(answered["error"]), False
    return text_of(answered["result"]), tool == "rlm_finalize" and not answered["result"].get("isError")
