"""A real kernel of a session without its walls, driven as the host would: what its courtesies do by themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from tests.parts import ROOT

WAIT_S: Final = 60
START: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from rlm_kernel_mcp.in_kernel.launch import main; main(sys.argv[1:])"
)


@dataclass(slots=True)
class Outcome:
    """Everything that one execution sent."""

    reply: dict[str, Any]
    stdout: str = ""
    stderr: str = ""
    results: list[dict[str, str]] = field(default_factory=list)
    displays: list[dict[str, str]] = field(default_factory=list)
    stream_sizes: list[int] = field(default_factory=list)

    @property
    def status(self) -> str:
        return str(self.reply["status"])

    @property
    def ename(self) -> str:
        return str(self.reply.get("ename", ""))

    @property
    def evalue(self) -> str:
        return str(self.reply.get("evalue", ""))

    @property
    def traceback(self) -> str:
        return "\n".join(self.reply.get("traceback", []))

    @property
    def result(self) -> str | None:
        return self.results[0]["text/plain"] if self.results else None

    @property
    def updated(self) -> list[list[Any]]:
        return list(self.reply["rlm"]["updated"])


class BareKernel:
    """A client of one kernel."""

    def __init__(self, client: BlockingKernelClient, scratch: Path) -> None:
        self.client = client
        self.scratch = scratch

    def run(self, code: str, allow_stdin: bool = False) -> Outcome:
        """Execute a cell to its end; with `allow_stdin` as somebody at a console's keyboard."""
        outcome = Outcome({})

        def collect(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                outcome.stream_sizes.append(len(content["text"].encode()))
                if content["name"] == "stdout":
                    outcome.stdout += content["text"]
                else:
                    outcome.stderr += content["text"]
            elif message["msg_type"] == "execute_result":
                outcome.results.append(content["data"])
            elif message["msg_type"] == "display_data":
                outcome.displays.append(content["data"])

        reply = self.client.execute_interactive(code, allow_stdin=allow_stdin, timeout=WAIT_S, output_hook=collect)
        outcome.reply = reply["content"]
        return outcome


@contextmanager
def bare_kernel(directory: Path, mode: str, **limits: int) -> Iterator[BareKernel]:
    """Start a kernel of the shipped policy in an import mode, with no wall raised."""
    policy = json.loads((ROOT / "kernelspecs/rlm-python/policy.json").read_text(encoding="utf-8"))
    policy["imports"]["mode"] = mode
    policy["walls"] = {"required": [], "wanted": []}
    policy["limits"] |= limits
    for name in ("c", "w"):
        (directory / name).mkdir()
    (directory / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
    # Unix sockets have short names, and pytest's directories long ones.
    connection, _ = write_connection_file(
        str(directory / "c" / "k.json"), transport="ipc", ip=str(directory / "c" / "k")
    )
    argv = [sys.executable, "-c", START, str(ROOT), "-f", connection]
    argv += ["--policy", str(directory / "policy.json"), "--scratch", str(directory / "w"), "--owned"]
    with subprocess.Popen(argv, cwd=directory / "w", stdout=subprocess.DEVNULL) as process:
        client = BlockingKernelClient(connection_file=connection)
        client.load_connection_file()
        client.start_channels(hb=False)  # a heart that does not beat yet would be taken for a dead one
        try:
            client.wait_for_ready(timeout=WAIT_S)
            yield BareKernel(client, directory / "w")
        finally:
            client.stop_channels()
            client.context.destroy(linger=0)
            process.kill()
