"""What a cell says, as one value: of the record, of a kernel, and as the outputs of a notebook's cell.

Is: the four texts that a trace has of a step, safe to show, and its pictures, looked through, both ways. How a stream
was cut into pieces, and whether something was printed before or after an error line, is a matter of time, and is not in
it. Is not: HTML, Markdown and SVG, which act in some client. Sans-I/O. Above: `notebook/writing/cells.py`,
`notebook/running/rerun.py`. Below: `text/safe_text.py`, `kernel/untrusted/shown/displays.py`. Source: nbformat 4.5,
outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from rlm_kernel_mcp.kernel.untrusted.shown.displays import PICTURES, RESULT, Displays
from rlm_kernel_mcp.text.safe_text import safe_text

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG or JPEG, as base64. `is_result`: of the value of the last expression."""

    mime_type: str
    data: str
    is_result: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """Safe texts. `error`: name, message and traceback of an exception. `pictures`: that of the result last."""

    stdout: str = ""
    stderr: str = ""
    result: str | None = None
    error: tuple[str, str, str] | None = None
    pictures: tuple[Picture, ...] = ()

    @classmethod
    def of(
        cls,
        stdout: str | None,
        stderr: str | None,
        result: str | None,
        error: tuple[str, str, str] | None,
        displays: Iterable[tuple[str, str, int]] = (),
    ) -> Self:
        """From raw texts. `displays`: types, data and places, of which the pictures are taken."""
        shown = None if result is None else safe_text(result)
        named = None if error is None else (safe_text(error[0]), safe_text(error[1]), safe_text(error[2]))
        pictures = [Picture(kind, data, place == RESULT) for kind, data, place in displays if kind in PICTURES]
        pictures.sort(key=lambda one: one.is_result)
        return cls(safe_text(stdout or ""), safe_text(stderr or ""), shown, named, tuple(pictures))

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(filter(None, (self.stdout, self.stderr, self.result, *(self.error or ()))))

    def outputs(self, execution_count: int | None) -> list[Json]:
        """As a notebook's cell has it."""
        found: list[Json] = [
            {"output_type": "stream", "name": name, "text": text}
            for name, text in (("stdout", self.stdout), ("stderr", self.stderr))
            if text
        ]
        found += [
            {"output_type": "display_data", "data": {one.mime_type: one.data}, "metadata": {}}
            for one in self.pictures
            if not one.is_result
        ]
        data = {} if self.result is None else {"text/plain": self.result}
        data |= {one.mime_type: one.data for one in self.pictures if one.is_result}
        if data:
            found.append(
                {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": execution_count}
            )
        if self.error is not None:
            name, value, lines = self.error
            traceback = lines.split("\n") if lines else []
            found.append({"output_type": "error", "ename": name, "evalue": value, "traceback": traceback})
        return found

    @classmethod
    def of_outputs(cls, outputs: Sequence[Any]) -> Self:
        """From a cell of a notebook that anybody may have written, or another client; what is no output is left out.

        The text of a display is what was printed, as a trace has it.
        """
        streams, result, error = {"stdout": list[str](), "stderr": list[str]()}, None, None
        shown = Displays()
        for output in outputs:
            if not isinstance(output, Mapping):
                continue
            match output.get("output_type"):
                case "stream":
                    name = "stderr" if output.get("name") == "stderr" else "stdout"
                    streams[name].append(joined(output.get("text")))
                case "execute_result":
                    result = _plain(output)
                    shown.take(_pictures(output), None, is_result=True)
                case "display_data":
                    shown.take(_pictures(output), None)
                    text = _plain(output) or ""
                    streams["stdout"].append(text if not text or text.endswith("\n") else f"{text}\n")
                case "error":
                    lines = output.get("traceback")
                    texts = [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
                    error = (joined(output.get("ename")), joined(output.get("evalue")), "\n".join(texts))
                case _:
                    continue
        displays = ((one.mime_type, one.data, one.place) for one in shown.kept)
        return cls.of("".join(streams["stdout"]), "".join(streams["stderr"]), result, error, displays)

    def differs_from(self, other: Said) -> list[str]:
        """In which of the parts."""
        parts = ("stdout", "stderr", "result", "error", "pictures")
        return [name for name in parts if getattr(self, name) != getattr(other, name)]


def joined(text: object) -> str:
    """A text of nbformat: one, or a list of its lines."""
    if isinstance(text, list):
        return "".join(part for part in text if isinstance(part, str))
    return text if isinstance(text, str) else ""


def _plain(output: Mapping[str, Any]) -> str | None:
    data = output.get("data")
    return joined(data["text/plain"]) if isinstance(data, Mapping) and "text/plain" in data else None


def _pictures(output: Mapping[str, Any]) -> dict[str, str]:
    data = output.get("data")
    return {kind: joined(data[kind]) for kind in PICTURES if kind in data} if isinstance(data, Mapping) else {}
