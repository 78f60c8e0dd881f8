"""What an agent is given, and what it used.

Is: plain data between `evaluation.py` and the agents. Is not: an agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ENDPOINT_NAMES = (
    "OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION",
    "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE",
)  # fmt: skip
"""What a server may need of the user's environment to ask an endpoint; `evaluation.py` passes no value of them on."""
PROMPT = """\
Answer the question below about the text in {paths}. The text may be far longer than what you can read: work on it with
the tools of the server rlm. Open a session with rlm_init_context (context_paths: {paths}), look at the text and \
compute with rlm_run_repl{asking}, and give the answer with rlm_finalize, in the form that the question asks for. \
Nothing else than the answer given there counts.

Question: {question}"""
ASKING = "; code in it can ask a model about pieces of the text, by llm_query_batched"


@dataclass(frozen=True, slots=True)
class Job:
    """One question about one text."""

    directory: Path
    """The documents lie below it; it is the server's working directory and its only root."""
    paths: tuple[str, ...]
    question: str
    settings: Mapping[str, str]
    """Of the server: who answers the questions of its sessions' code, and where its record is."""

    @property
    def prompt(self) -> str:
        asking = "" if self.settings["RLM_SUBCALL_BACKEND"] == "none" else ASKING
        paths = ", ".join(map(repr, self.paths))
        return PROMPT.format(paths=paths, asking=asking, question=self.question)


@dataclass(slots=True)
class Used:
    """What a run took of the agent's own model; sub-calls are in the server's record."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    said: str = ""
    """The last message."""
    failure: str = ""
    """Why it ended early, if it did; such a task is scored by what it has finalized, if anything."""


class Missing(Exception):
    """Something that the user has to install or to say; the message says what."""


class Agent(Protocol):
    """Whoever works on jobs."""

    name: str

    def run(self, job: Job) -> Used:
        """Work on one to its end."""
        ...
