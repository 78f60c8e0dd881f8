"""What crosses between a router and a node, as texts of JSON, in ASCII: no way on which they travel can spoil them.

Is: a call, who makes it, its answer, and how full a node is, each to a text and back. Is not: what carries the texts,
nor what a value looks like (`doors/wire/values.py`). Above: nodes, and routers. Below: `doors/wire/values.py`,
`doors/wire/messages.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from rlm_kernel_mcp.doors.wire.messages import error_heard, error_said
from rlm_kernel_mcp.doors.wire.values import codec
from rlm_kernel_mcp.errors import RlmError


class Message:
    """A dataclass as a text. Who reads trusts whoever wrote: the token of the cluster lets nobody else speak."""

    def text(self) -> str:
        """It as JSON. Raises: TypeError, ValueError: something in it is none."""
        return json.dumps(asdict(self), separators=(",", ":"))  # type: ignore[call-overload]

    @classmethod
    def of(cls, text: str) -> Self:
        """It from its JSON."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Asked(Message):
    """What a call is given."""

    arguments: Mapping[str, Any]
    """Of the tool, or of the door's method, as the client gave them: nobody has checked them."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Of `door:get` `limit` and `as_text`, of `door:answer_part` and `door:trace` `offset`."""
    manifest: str | None = None
    """Of a context by paths the hash of its `Manifest`, which the store has: the paths themselves are the client's, and
    nothing to be opened here."""
    is_lost: bool = False
    """Of a step: run nothing. It was in flight on a node that is lost: record that nobody knows what became of it, and
    answer as if it had been run, with a report whose status is `unknown`."""


@dataclass(frozen=True, slots=True)
class Calling(Message):
    """Who calls."""

    connection: str
    """Names the connection, in the whole cluster."""
    client: str = ""
    """What the client calls itself: safe to show, and never a proof."""


@dataclass(frozen=True, slots=True)
class Load(Message):
    """How full a node is."""

    node: str
    memory_mb: int
    memory_free_mb: int
    session_mb: int
    """What one session may take there, at most."""
    sessions: int = 0
    live_kernels: int = 0
    tier: str = ""
    """What its walls hold (`policy.py`)."""
    policy: str = ""
    contexts: Sequence[str] = ()
    """Hashes of the manifests and texts that it has, 1,000 at most."""
    draining: bool = False
    staying: Mapping[str, str] = field(default_factory=dict)
    """While it is drained: sessions that it has not let go of, 20 at most, and why."""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gives: a value, or an error."""

    text: str

    @classmethod
    def of_value(cls, kind: Any, value: Any) -> Self:
        """The answer of a door's method. `kind`: what the value is, as its annotation says; None: it is none."""
        texts = list[str]()
        said = None if kind is None else codec(kind).write(value, texts)
        return cls(json.dumps({"result": said, "texts": texts}, separators=(",", ":")))

    @classmethod
    def of_json(cls, said: str) -> Self:
        """The answer of a tool or a resource. `said`: its result, as JSON."""
        return cls(f'{{"result":{said}}}')

    @classmethod
    def of_error(cls, error: RlmError) -> Self:
        """The answer of a call that was refused, or failed."""
        return cls(json.dumps({"error": error_said(error)}, separators=(",", ":")))

    def value(self, kind: Any = None) -> Any:
        """The value: of that kind, or the JSON of a tool. Raises: the error that it is instead."""
        said = json.loads(self.text)
        if "error" in said:
            raise error_heard(said["error"])
        return said["result"] if kind is None else codec(kind).read(said["result"], said["texts"])
