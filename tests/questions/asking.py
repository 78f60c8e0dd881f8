"""A question to a corpus, its answer and the passage that proves it, and a session that is asked.

Is: what every corpus has in common; an MCP client's calls over stdio, with every character that came back counted. Is
not: the answers: each corpus finds its own a second way (`library.py`, `papers.py`, `mixed.py`), without our functions.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.mcp.line_client import LineClient, text_of

MARK: Final = re.compile(r"\[c(\d+)\]")


@dataclass(frozen=True, slots=True)
class Passage:
    """A text, the document that has it, and the line in which it begins there."""

    doc: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    `code`: binds `value`, the answer as JSON has it, and `where`, the places it rests on. `value`: what it has to be,
    found a second way. `proof`: a passage that the answer rests on, found a second way too: one of `where` begins in
    its line; None: there is no answer. `wrong`: a passage that is not there, though it looks as if it were.
    """

    asked: str
    code: str
    value: object
    proof: Passage | None = None
    wrong: str | None = None

    @property
    def has_no_answer(self) -> bool:
        """Whether the answer is that there is nothing, or that the passage is another."""
        return self.wrong is not None


@dataclass(slots=True)
class Asked:
    """One session over one corpus."""

    client: LineClient
    session_id: str
    context: Mapping[str, Any]
    output_chars: int = 0
    """Of the output that the steps' replies had."""
    reply_chars: int = 0
    """Of all replies, whatever they were."""
    marks: list[list[str]] = field(default_factory=list)
    """Of each question."""

    @classmethod
    def open(cls, client: LineClient, paths: Sequence[str], exclude: Sequence[str] = ()) -> Asked:
        """A session over files."""
        opened = client.call("rlm_init_context", context_paths=list(paths), exclude=list(exclude))
        body = json.loads(text_of(opened))
        assert body["ok"], body
        made = cls(client, body["data"]["session_id"], body["data"]["context"])
        made.reply_chars += len(text_of(opened))
        return made

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """One call, counted; returns the envelope."""
        text = text_of(self.client.call(tool, session_id=self.session_id, **arguments))
        self.reply_chars += len(text)
        body: dict[str, Any] = json.loads(text)
        return body

    def ask(self, question: Question) -> None:
        """One step, which keeps the answer and prints its marks alone."""
        code = f"{question.code}\nanswers.append(value)\nprint(*map(cite, where))"
        data = self._data("rlm_run_repl", code=code if self.marks else f"answers = []\n{code}")
        while data["status"] == "running":
            data = self._data("rlm_await_step", step_index=data["step_index"])
        assert data["status"] == "ok", (question.asked, data)
        self.output_chars += sum(len(data[part] or "") for part in ("stdout", "stderr", "result"))
        self.marks.append(MARK.findall(data["stdout"]))

    def answers(self) -> list[Any]:
        """What the kernel kept, in order."""
        value: list[Any] = self._data("rlm_get_var", var_name="answers", limit=100_000)["value"]
        return value

    def refused(self, quotes: Sequence[object]) -> dict[str, str]:
        """The statuses of an answer's quotes that do not pass, by id; the answer is refused, and the session open."""
        body = json.loads(text_of(self.client.call(
            "rlm_finalize", session_id=self.session_id, final_text="An answer.", quotes=list(quotes)
        )))  # fmt: skip
        assert not body["ok"], body
        assert body["error"]["code"] == "CITATION_MISMATCH", body
        return {one["id"]: one["status"] for one in body["error"]["citations"]}

    def _data(self, tool: str, **arguments: Any) -> dict[str, Any]:
        body = self.call(tool, **arguments)
        assert body["ok"], body
        data: dict[str, Any] = body["data"]
        return data


def grep(pattern: str, path: Path, *options: str) -> list[tuple[int, str]]:
    """Lines of a file with a match, and their numbers, by GNU grep over the bytes."""
    argv = ["grep", "-na", *(options or ("-E",)), "-e", pattern, "--", str(path)]
    found = subprocess.run(argv, capture_output=True, check=False, env={"LC_ALL": "C"})
    assert found.returncode < 2, found.stderr
    rows = (line.split(b":", 1) for line in found.stdout.split(b"\n")[:-1])
    return [(int(number), text.decode("utf-8", "surrogateescape")) for number, text in rows]


def grep_all(pattern: str, root: Path, names: Sequence[str], *options: str) -> dict[str, list[tuple[int, str]]]:
    """The same of several files below a directory, in one process, by name."""
    argv = ["grep", "-naHZ", *(options or ("-E",)), "-e", pattern, "--", *names]
    found = subprocess.run(argv, capture_output=True, check=False, env={"LC_ALL": "C"}, cwd=root)
    assert found.returncode < 2, found.stderr
    rows: dict[str, list[tuple[int, str]]] = {}
    for line in found.stdout.split(b"\n")[:-1]:
        name, _, rest = line.partition(b"\0")
        number, _, text = rest.partition(b":")
        rows.setdefault(name.decode(), []).append((int(number), text.decode("utf-8", "surrogateescape")))
    return rows


def passage(doc: str, line: int, data: bytes) -> Passage:
    """What stands in a document from a line on, as far as it takes to be evidence: it stands there once."""
    rows = data.split(b"\n")
    last = line
    while last < len(rows) and (last - line < 2 or data.count(b"\n".join(rows[line - 1 : last])) > 1):
        last += 1
    return Passage(doc, line, b"\n".join(rows[line - 1 : last]).decode("utf-8", "surrogateescape"))


def find(root: Path, *tests: str, kinds: str = "f") -> list[str]:
    """Files below a directory, by find, relative to it and in order; none that are hidden. `kinds`: as of `-type`."""
    argv = ["find", ".", "-type", kinds, "-not", "-path", "*/.*", *tests, "-printf", "%P\\0"]
    found = subprocess.run(argv, capture_output=True, check=True, cwd=root)
    return sorted(filter(None, found.stdout.decode().split("\0")))
