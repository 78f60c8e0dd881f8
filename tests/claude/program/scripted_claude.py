"""A scripted `claude`: it records how it is called, and answers as the file beside it says. No model is anywhere.

It is put on PATH as `claude` by `tests/claude/scripted.py`; `plan.json` beside it is read at each run.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).parent
PLAN = json.loads((HERE / "plan.json").read_text())
TRIAL = os.environ.get("ANTHROPIC_API_KEY", "") == PLAN["not_a_key"]


def say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def record(text: str) -> None:
    if PLAN.get("is_secretive"):
        return
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and os.path.exists(f"/proc/self/fd/{name}"):
            descriptors[name] = os.readlink(f"/proc/self/fd/{name}")
    seen = {
        "trial": TRIAL,
        "argv": sys.argv[1:],
        "env": dict(os.environ),
        "cwd": os.getcwd(),
        "mode": oct(os.stat("..").st_mode & 0o777),
        "holds": os.listdir("."),
        "stdin": text,
        "descriptors": descriptors,
        "pid": os.getpid(),
    }
    partly = HERE / "records" / f".{os.getpid()}"
    partly.write_text(json.dumps(seen))
    partly.rename(HERE / "records" / f"{time.time_ns()}.json")


def post(text: str) -> None:
    """What a real one sends, as far as the trial looks at it."""
    url = urlsplit(os.environ["ANTHROPIC_BASE_URL"])
    body = {"tools": PLAN.get("sent_tools", []), "messages": [text]}
    if PLAN.get("reads_files"):
        name = text.split('@"')[1].split('"', maxsplit=1)[0]
        body["messages"].append(Path(name).read_text())
    connection = http.client.HTTPConnection(url.hostname or "", url.port or 80)
    connection.request("POST", f"{url.path}/v1/messages?beta=true", json.dumps(body))
    connection.getresponse().read()


def main() -> None:
    text = sys.stdin.read()
    record(text)
    if PLAN.get("complains"):
        sys.stderr.write(PLAN["complains"])
        sys.exit(3)
    tools = PLAN.get("tools", []) if not TRIAL or not PLAN.get("honest_in_trial") else []
    say(type="system", subtype="init", tools=tools, mcp_servers=PLAN.get("servers", []), model="scripted")
    if TRIAL and PLAN.get("hangs_in_trial"):
        signal.pause()
    if TRIAL:
        if not PLAN.get("sends_nothing"):
            post(text)
        say(type="assistant", error="authentication_failed", message={})
        say(type="result", subtype="success", is_error=True, api_error_status=401, result="no key")
        sys.exit(1)
    if PLAN.get("leaves_children"):
        leave_children()
    if PLAN.get("hangs"):
        (HERE / "records" / ".hanging").write_text(str(os.getpid()))
        (HERE / "records" / ".hanging").rename(HERE / "records" / "hanging")
        signal.pause()
    for line in PLAN.get("lines", []):
        say(**line)
    while PLAN.get("floods"):
        sys.stdout.write("x" * 65_536)
    answer = "echo of " + question(text) + read_as_a_real_one_does(text)
    result = {"type": "result", "subtype": "success", "is_error": False, "result": answer}
    result |= {"total_cost_usd": 0.25, "modelUsage": {"scripted-1": {"inputTokens": 10, "outputTokens": 3}}}
    say(**(result | PLAN.get("result", {})))
    if PLAN.get("stays"):
        signal.pause()


def question(text: str) -> str:
    return text.split("\n\n")[1]


def read_as_a_real_one_does(text: str) -> str:
    """2.1.332 sends what `@path` names, whatever its tools are, and takes a leading slash for a command."""
    if text.startswith("/") or "--tools" not in sys.argv or sys.argv[sys.argv.index("--tools") + 1]:
        return " and of all files"
    if os.environ.get("CLAUDE_CODE_DISABLE_ATTACHMENTS"):
        return ""
    names = [word.removeprefix("@").strip('"?.') for word in text.split() if word.startswith("@")]
    return "".join(Path(name).read_text() for name in names if Path(name).is_file())


def leave_children() -> None:
    """One in its group, and one that leaves its session as a daemon does."""
    for is_daemon in (False, True):
        if os.fork() == 0:
            if is_daemon:
                os.setsid()
                if os.fork():
                    os._exit(0)
            (HERE / "records" / f"child-{os.getpid()}").write_text("")
            signal.pause()
    while len(list((HERE / "records").glob("child-*"))) < 2:
        time.sleep(0.01)


main()
