"""A conversation with a model that may call tools: what was said so far, as plain data. Sans-I/O.

Is: the turns, and the tools that are offered. Is not: the body of a request (`bodies.py`), nor what a call does
(`session/children/loop.py`). Above: `bodies.py`, `calls.py`, `session/answering/questions.py`. Below: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `parameters`: JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What the model wants to be done. `arguments`: JSON, as the model has written it, right or wrong."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Asks:
    """What is said to the model."""

    text: str


@dataclass(frozen=True, slots=True)
class Says:
    """What the model has said."""

    text: str
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a call."""

    call_id: str
    text: str


Turn = Asks | Says | Result


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said so far, the instructions apart."""

    system: str
    tools: tuple[Tool, ...]
    turns: tuple[Turn, ...] = ()

    def and_more(self, *turns: Turn) -> Conversation:
        """The same, gone on."""
        return replace(self, turns=(*self.turns, *turns))

    @property
    def utf8_bytes(self) -> int:
        """About how many bytes are sent."""
        parts = [self.system, *(f"{tool.name}{tool.description}{tool.parameters}" for tool in self.tools)]
        for turn in self.turns:
            parts.append(turn.text)
            if isinstance(turn, Says):
                parts += (part for call in turn.calls for part in (call.id, call.name, call.arguments))
            elif isinstance(turn, Result):
                parts.append(turn.call_id)
        return len("".join(parts).encode("utf-8", "surrogatepass"))
