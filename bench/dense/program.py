"""The tasks answered by fixed programs in the kernel, through our real server, with a script in the model's place.

Is: what a careful driver would do, so that whatever is not exact is our fault: the program cuts the text and asks by
`llm_query_batched`, the scripted answerer takes the questions by leases, as sub-agents do, and gives the right answers.
Is not: a figure of any model's: the answerer knows the templates that the texts were made of.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench.dense.families import code_base, hops, needle, oolong, pairs
from bench.dense.scorers import score
from bench.dense.tasks import Family, Paper
from tests.mcp.line_client import LineClient, data_of, text_of

FAMILIES: Mapping[str, Family] = {
    one.FAMILY.name: one.FAMILY for one in (oolong, pairs, needle, hops, code_base)
}  # by the name that --family takes
ANSWERER = "a script that knows the templates, not a model"
ENVIRON = {"RLM_SUBCALL_BACKEND": "agent", "RLM_SUBCALL_MAX": "100000", "RLM_SUBCALL_MAX_TOKENS": "1000000000"}
DAY_MS = 86_400_000
LIMITS = {
    "max_runtime_ms": DAY_MS, "step_timeout_ms": DAY_MS, "budget_limit": 1_000_000_000, "max_subcalls": 100_000,
    "subcall_tokens_limit": 1_000_000_000,
}  # fmt: skip
TAKE, PAGE_CHARS, DRIVER_CHARS = 100, 200_000, 1_000
WAIT_MS = 45_000


@dataclass(slots=True)
class Ran:
    """One paper, done."""

    paper: Paper
    scores: dict[str, float]
    """By kind."""
    outputs: dict[str, str]
    opened_chars: int = 0
    """Of results that reached the client that drives the session: of what opened it."""
    driver_chars: int = 0
    """Of all that came afterwards but for the answers themselves."""
    answers_chars: int = 0
    answerer_chars: int = 0
    """Of results that reached whoever answers."""
    asked: int = 0


class Driver:
    """The calls of one session, and the characters that each brings back."""

    def __init__(self, client: LineClient, paper: Paper) -> None:
        self.client = client
        self.ran = Ran(paper, {}, {})
        self.session_id = ""

    def call(self, tool: str, **arguments: Any) -> tuple[dict[str, Any], int]:
        """`data` of a call, and the characters of its text."""
        if self.session_id:
            arguments["session_id"] = self.session_id
        result = self.client.call(tool, **arguments)
        return data_of(result), len(text_of(result))

    def drive(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """One of the driver's own."""
        data, chars = self.call(tool, **arguments)
        self.ran.driver_chars += chars
        return data

    def open(self, patterns: Sequence[str]) -> None:
        """Load the documents by their paths."""
        data, self.ran.opened_chars = self.call("rlm_init_context", context_paths=list(patterns), **LIMITS)
        self.session_id = data["session_id"]

    def step(self, code: str) -> None:
        """Run the program; whenever it asks, who answers takes what there is."""
        data = self.drive("rlm_run_repl", code=code, wait_ms=WAIT_MS, max_output_chars=DRIVER_CHARS)
        index = data["step_index"]
        while data["status"] in ("needs_answers", "running"):
            if data["status"] == "needs_answers":
                self._answer()
            data = self.drive("rlm_await_step", step_index=index, wait_ms=WAIT_MS, max_output_chars=DRIVER_CHARS)
        if data["status"] != "ok":
            raise RuntimeError(f"{self.ran.paper.name}: the program ended with {data['status']}: {data['error']}")

    def _answer(self) -> None:
        answers: list[dict[str, Any]] = []
        while True:
            page, chars = self.call("rlm_answer", answers=answers, take=TAKE, max_output_chars=PAGE_CHARS)
            self.ran.answerer_chars += chars
            assert not page.get("rejected"), page["rejected"]
            if page["status"] != "needs_answers" or not page["questions"]["items"]:
                return
            answers = [self._answer_to(one) for one in page["questions"]["items"]]
            self.ran.asked += len(answers)

    def _answer_to(self, item: dict[str, Any]) -> dict[str, Any]:
        if item.get("cut"):
            raise RuntimeError(f"a question of {item['total_chars']:,} characters was cut on a page of {PAGE_CHARS:,}")
        return {"id": item["id"], "text": answer(item["prompt"], item.get("text") or "")}

    def read(self, name: str) -> str:
        """A text, page by page."""
        parts, offset = list[str](), cast("int | None", 0)
        while offset is not None:
            data, chars = self.call("rlm_get_var", var_name=name, offset=offset, limit=PAGE_CHARS)
            self.ran.answers_chars += chars
            parts.append(data["value"])
            offset = data["next_offset"]
        return "".join(parts)


def answer(prompt: str, text: str) -> str:
    """The scripted answerer."""
    for family in FAMILIES.values():
        if (said := family.answer(prompt, text)) is not None:
            return said
    raise RuntimeError(f"nobody has written down what to answer to {prompt[:200]!r}")


@contextmanager
def server(environ: Mapping[str, str] = ENVIRON) -> Iterator[LineClient]:
    """A server whose sessions ask whoever drives them, and the client of it; texts are loaded from its directory."""
    with tempfile.TemporaryDirectory(prefix="rlm-dense-") as directory:
        place = Path(directory, "client")
        place.mkdir()
        client = LineClient(place, environ, keeps=False)
        try:
            client.initialize()
            yield client
        finally:
            client.kill()


def write(paper: Paper, directory: Path) -> list[str]:
    """Put a paper's documents into a directory of its own below this one; returns what `context_paths` is to name."""
    place = Path(tempfile.mkdtemp(dir=directory))
    for name, text in paper.documents.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    names = list(paper.documents)
    return [f"{place.name}/{names[0]}"] if len(names) == 1 else [f"{place.name}/**"]


def run(client: LineClient, paper: Paper) -> Ran:
    """Answer a paper's questions by its program, and score what came."""
    driver = Driver(client, paper)
    driver.open(write(paper, client.directory))
    driver.step(f"{paper.program}\nimport json\nanswers_text = json.dumps(answers)\nlen(answers)")
    ran = driver.ran
    ran.outputs = json.loads(driver.read("answers_text"))
    driver.drive("rlm_finalize", final_text="done")
    ran.scores = {task.kind: score(ran.outputs[task.kind], task) for task in paper.tasks}
    return ran
