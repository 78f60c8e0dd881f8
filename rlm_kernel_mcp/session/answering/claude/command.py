"""How `claude` is called so that it can do nothing but answer: its arguments and its environment.

Is: two lists. Nothing of a question is in them, which any user of the machine can read: it comes on standard input.
Is not: whether it heeds them (`trial.py`, `lines.py`). Sans-I/O. Above: `claude_cli.py`, `trial.py`.
Below: `backends/messages.py`.
"""

from __future__ import annotations

from typing import Final

from rlm_kernel_mcp.session.answering.backends.messages import SYSTEM, user_text
from rlm_kernel_mcp.session.answering.backends.protocol import Asked

USD_MOST: Final = 1.0
"""Most dollars of one question: `claude` itself stops beyond it, where it goes on by itself."""
TOOLLESS: Final = (
    "-p",
    *("--tools", ""),
    "--strict-mcp-config",
    *("--setting-sources", ""),
    "--disable-slash-commands",
    "--no-session-persistence",
    *("--system-prompt", SYSTEM),
    *("--output-format", "stream-json"),
    "--verbose",
)
"""No tool, server, setting, command or record of its own. The format is the one that says which tools it offers."""
SWITCHES: Final = {
    "CLAUDE_CODE_DISABLE_ATTACHMENTS": "1",  # else `@/etc/passwd` in a question is read and sent, tools or none
    "CLAUDE_CODE_DISABLE_CLAUDE_MDS": "1",
    "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "0",  # retries are for all backends the same
    "LC_ALL": "C.UTF-8",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
}
BEFORE: Final = "The question:\n\n"
"""What a question begins with: one that began with a slash would be taken for a command of `claude`'s own."""


def arguments(model: str, max_usd: float | None) -> tuple[str, ...]:
    """All of them; `max_usd`: dollars that the user allows a session."""
    usd = USD_MOST if max_usd is None else min(USD_MOST, max_usd)
    return (*TOOLLESS, f"--max-budget-usd={usd:.6f}", *([f"--model={model}"] if model else []))


def environment(given: dict[str, str], output_tokens: int) -> dict[str, str]:
    """All of it; `given`: what the user's own has for it."""
    return {**given, **SWITCHES, "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(output_tokens)}


def input_of(asked: Asked) -> bytes:
    """What it reads. The schema is in it as a text: checked it is in the kernel alone."""
    return (BEFORE + user_text(asked, says_schema=True)).encode()
