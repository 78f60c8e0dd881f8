"""What crosses between a router and the actor of a node: bytes, which Ray carries as they are, with nothing pickled.

Is: a verb and its texts to bytes and back, an answer or an error to bytes and back, and what all nodes of a cluster are
told. Is not: what the texts say (`node/messages.py`), nor Ray. Above: `ray_actors.py`. Below: `doors/wire/`, errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Final, Self

from rlm_kernel_mcp.doors.wire.messages import error_heard, error_said
from rlm_kernel_mcp.errors import InternalError, InvalidInput, RlmError
from rlm_kernel_mcp.variables.table import PREFIX

GAVE: Final = b"="
FAILED: Final = b"!"
STORE: Final = "RLM_CLUSTER_STORE"
NODE: Final = "RLM_CLUSTER_NODE"
MEMORY: Final = "RLM_CLUSTER_MEMORY_MB"
NOT_OF_NODES: Final = frozenset({"RLM_CONTEXT_ROOTS", "RLM_HOST", "RLM_HOST_DIR", "RLM_HOST_IDLE_S", "RLM_HOST_WAIT_S"})
"""Settings of a client's own machine: a node opens no path of a client's, and has no clients."""
STATE_DIR: Final = "RLM_STATE_DIR"


class NotBytes(TypeError):
    """Something else than bytes was to cross."""


def only_bytes(value: object) -> bytes:
    """The same bytes. Raises: NotBytes: it is anything else, which Ray would pickle, and its other end unpickle."""
    if type(value) is not bytes:
        raise NotBytes(f"{type(value).__name__} was to cross between nodes, where only bytes do")
    return value


def asking(verb: str, *texts: str) -> bytes:
    """A call of a node's, as it crosses: a line with the lengths, and the texts as they are."""
    parts = [_bytes_of(text) for text in texts]
    return b"\n".join([json.dumps([verb, *map(len, parts)]).encode("ascii"), b"".join(parts)])


def asked(said: bytes) -> tuple[str, list[str]]:
    """The same at the other end. Raises: InvalidInput: it is no call."""
    head, _, rest = only_bytes(said).partition(b"\n")
    try:
        verb, *lengths = json.loads(head)
        ends = list(accumulate(lengths, initial=0))
        texts = [rest[begin:end].decode("utf-8", "surrogatepass") for begin, end in pairwise(ends)]
    except (ValueError, TypeError) as error:
        raise InvalidInput("What came to a node is no call.") from error
    if not isinstance(verb, str) or ends[-1] != len(rest):
        raise InvalidInput("What came to a node is no call.")
    return verb, texts


def gave(text: str) -> bytes:
    """What a call gave."""
    return GAVE + _bytes_of(text)


def failed(error: RlmError) -> bytes:
    """What a call raised."""
    return FAILED + json.dumps(error_said(error)).encode("ascii")


def given(said: bytes) -> str:
    """What a call gave. Raises: what it raised; InternalError: it is neither."""
    kind, rest = only_bytes(said)[:1], said[1:]
    if kind == FAILED:
        raise error_heard(json.loads(rest))
    if kind != GAVE:
        raise InternalError("What a node answered is no answer.")
    return rest.decode("utf-8", "surrogatepass")


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Facts:
    """What all nodes of a cluster are told, and every router can ask: the settings of `cluster up`."""

    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables of ours, by name."""

    @classmethod
    def of_environ(cls, environ: Mapping[str, str], store: str, *, is_one_machine: bool) -> Self:
        """Those of whoever begins it. `is_one_machine`: nodes keep their own state where its user has his."""
        left_out = NOT_OF_NODES if is_one_machine else NOT_OF_NODES | {STATE_DIR}
        own = {name: value for name, value in environ.items() if name.startswith(PREFIX) and name not in left_out}
        return cls({**own, STORE: store})

    @classmethod
    def of_bytes(cls, said: bytes) -> Self:
        """Raises: ValueError, AttributeError: it says something else."""
        return cls({str(name): str(value) for name, value in json.loads(said).items()})

    def as_bytes(self) -> bytes:
        """As they cross."""
        return json.dumps(dict(self.environ)).encode("ascii")

    @property
    def store(self) -> str:
        """Where the shared store is."""
        return self.environ.get(STORE, "")
