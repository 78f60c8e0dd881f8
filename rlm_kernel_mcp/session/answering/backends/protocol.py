"""What a backend is asked and what it says: the contract of each.

Is: plain data, and one call. Is not: a limit, a cache, a repetition or a trace, which no backend has to know of
(`session/answering/switchboard.py`, `broker.py`). Above: `session/answering/`. Below: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from rlm_kernel_mcp.session.answering.conversing.conversation import Conversation, ToolCall


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a backend before it is asked."""

    name: str
    where: str
    """Host name of the endpoint; never a path or a key."""
    model: str
    """That is asked where code names none."""
    models: tuple[str, ...] = ()
    """Further ones that code may name."""
    how: str = ""
    """One line for the agent."""
    has_tools: bool = False
    """Whether a model there can call those of a conversation."""
    is_open_world: bool = False
    """Whether questions leave this machine's own programs."""
    for_steps_alone: bool = False
    """Whether nobody is there to answer a console's cell."""
    wait_limit_ms: int | None = None
    """How long a step may wait for answers, where that is not what holds for every backend."""
    output_tokens: int = 2_000
    """The most that an answer may have."""
    more: str = "RLM_SUBCALL_MAX"
    """By what a user lets code ask more questions."""
    form: str = "1"
    """What else an answer depends on. Where it changes, no earlier answer is taken from the cache."""

    @property
    def identity(self) -> str:
        """Names who answers, without a key."""
        return " ".join(part for part in (self.name, self.where, self.model) if part)

    def refusal(self, model: str, *, is_console: bool) -> str | None:
        """Why a question does not go there: who asks, or the model that it names."""
        if is_console and self.for_steps_alone:
            return "no agent is asked for a console's cell"
        if model not in (known := (self.model, *self.models)):
            if not any(known):
                return f"No model can be named where {self.name} answers; leave `model` out (policy)."
            what = f"The model {model[:100]!r} may not be named here, which is the user's policy (RLM_SUBCALL_MODELS)"
            return f"{what}; those that may: {', '.join(filter(None, known)) or 'none'}."
        return None

    def is_named(self, answered_by: str) -> bool:
        """Whether an answer of the trace is this one's: of an agent's, each connection has a name of its own."""
        return answered_by == self.identity or (self.for_steps_alone and answered_by.startswith(f"{self.name}:"))


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as a backend gets it."""

    prompt: str
    text: str | None
    model: str
    schema: str | None = None
    """JSON of a JSON Schema that the answer's JSON is to have."""
    repair: str | None = None
    """What was wrong with an answer that was given before."""
    conversation: Conversation | None = None
    """What was said before it, where it is a turn of a conversation; that is sent, and nothing else of this."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered. Numbers that a backend does not tell are None."""

    text: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    usd: float | None = None
    model_said: str = ""
    by: str = ""
    """Who has answered, where that is not the backend itself."""
    calls: tuple[ToolCall, ...] = ()
    """Of the tools of a conversation."""


ATTEMPTS: Final = 5
"""The first and four more, at what may pass."""


class Unanswered(Exception):
    """There is no answer, and why."""

    def __init__(  # noqa: PLR0913 (all that may be known of a failure)
        self,
        code: str,
        message: str,
        retry_after_s: float | None = None,
        *,
        tries: int = 1,
        is_for_all: bool = False,
        is_paid: bool = False,
        answer: Answer | None = None,
    ) -> None:
        """`code` is one of `questions_wire.Code`.

        Args:
            code: what code in the kernel sees of it.
            message: for a person and a model; it has no key and no path.
            retry_after_s: how long the endpoint asks everybody to wait.
            tries: how many attempts make sense at what has failed so.
            is_for_all: no question is answered before the user has changed something.
            is_paid: the endpoint had the question, and may charge for it.
            answer: what was used, where that is known; the text is no answer.
        """
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.tries = tries
        self.is_for_all = is_for_all
        self.is_paid = is_paid
        self.answer = answer


class Backend(Protocol):
    """Who answers. One serves the sessions of all clients with the same settings, and belongs to one event loop."""

    @property
    def facts(self) -> Facts:
        """Known before the first question."""

    async def answer(self, asked: Asked) -> Answer:
        """Answer one question. A caller that is cancelled ends what was begun.

        Raises:
            Unanswered: there is no answer.
        """

    async def close(self) -> None:
        """Let go of connections. Safe to call twice."""
