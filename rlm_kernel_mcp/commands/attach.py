"""`rlm-kernel-mcp attach`: jupyter console on the kernel of a session that a server drives.

Is: finding the connection file, of the session that is named or chosen, and handing the terminal over. Is not: the
console, nor what keeps its output from the agent's (`kernel/client.py`). Above: `cli.py`. Below: `looking/live.py`,
`looking/choosing.py`. It ends in `attached/console.py`, a program of its own.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import NoReturn

from rlm_kernel_mcp.commands.looking.choosing import the_one
from rlm_kernel_mcp.commands.looking.live import find_session, has_kernel, opened_store
from rlm_kernel_mcp.errors import InvalidInput, KernelDied
from rlm_kernel_mcp.session.listing import is_driven
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.store import SessionRecord


def attach(settings: Settings, session_id: str | None, *, only_print: bool) -> int:
    """Become jupyter console, or print the connection file's path. Without an id: of the only one, or of a choice.

    Raises:
        SessionNotFound: there is no such session.
        KernelDied: the session has ended, or its kernel is stopped at the moment.
        InvalidInput: jupyter_console is not installed; or there are several sessions, and nobody chooses.
    """
    with opened_store(settings) as store:
        record = the_one(store) if session_id is None else find_session(store, session_id)
        driven, attachable = is_driven(store, record), has_kernel(store, record)
    if not driven:
        raise KernelDied(
            f"No server drives session {record.session_id} now (its last state: {record.status}).",
            f"Its trace can be read: `rlm-kernel-mcp trace {record.session_id}`.",
        )
    if not attachable:
        raise KernelDied(
            f"The kernel of session {record.session_id} is stopped at the moment.",
            f"The agent's next step starts it again, and so does `rlm-kernel-mcp resume {record.session_id}`.",
        )
    if only_print:
        print(record.connection_file)
    else:
        _become_console(record, settings)
    return 0


def _become_console(record: SessionRecord, settings: Settings) -> NoReturn:
    if importlib.util.find_spec("jupyter_console") is None:
        raise InvalidInput(
            "jupyter_console is not installed where this command runs.",
            f"Install it ({sys.executable} -m pip install jupyter-console), or give another client "
            f"the file that `rlm-kernel-mcp attach {record.session_id} --print` prints.",
        )
    sys.stdout.flush()
    # -P: a module in the working directory must not replace the console's own.
    argv = [
        sys.executable,
        "-P",
        "-m",
        "rlm_kernel_mcp.commands.attached.console",
        "--existing",
        record.connection_file,
    ]
    argv += [f"--AttachedShell.agents_session={record.session_id}", f"--AttachedShell.state_dir={settings.state_dir}"]
    os.execv(sys.executable, argv)  # noqa: S606 - no shell is the point
