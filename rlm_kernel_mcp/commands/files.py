"""`rlm-kernel-mcp files`: what a session's code has written into its scratch directory, and a way out for it.

Is: a table of names and sizes, and with `--out` the files themselves, as far as they are plain and within limits; they
come from the kernel by the host, and this command alone writes them. Is not: a belief in any of it: a kernel may list
and send whatever it likes. Above: `cli.py`. Below: `looking/live.py`, `looking/at_host.py`, `taking/names.py`,
`taking/place.py`, `session/scratch/reports.py`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.commands.looking.at_host import ask_host, require_host
from rlm_kernel_mcp.commands.looking.live import find_session, opened_store
from rlm_kernel_mcp.commands.showing.table import aligned
from rlm_kernel_mcp.commands.taking.names import Names
from rlm_kernel_mcp.commands.taking.place import NewFile, TakingPlace
from rlm_kernel_mcp.doors.link import Link
from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.session.scratch.reports import ScratchFile, ScratchFiles
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.text.printable import printable
from rlm_kernel_mcp.text.wording import counted
from rlm_kernel_mcp.units import MB

FILE_MB_MAX: Final = 256
ALL_MB_MAX: Final = 1_024
"""Of one file, and of all that is taken out at a time. By what comes: a file's size is a kernel's word, and a sparse
file of a scratch directory of 64 MB has as many bytes as it likes."""
NAME_CHARS_SHOWN: Final = 80
FAILURES_MAX: Final = 10
"""Files in a row that the kernel does not send; then no more are asked for."""
KINDS: Final = {
    "more": "more than are listed",
    "link": "symbolic links, which are not followed",
    "deep": "directories more than 16 levels down",
    "closed": "directories that cannot be looked into",
    "gone": "gone by now",
    "other": "FIFOs, sockets and other things that are no files",
}


@dataclass(slots=True)
class Taken:
    """What has become of one file."""

    file: ScratchFile
    path: tuple[str, ...] = ()
    size_bytes: int = 0
    why: str = ""
    """It was not taken."""

    def row(self) -> dict[str, Any]:
        """As JSON has it."""
        known = {"name": self.file.name, "bytes": self.file.size_bytes}
        told = {"path": "/".join(self.path), "written": self.size_bytes} if self.path and not self.why else {}
        return known | told | ({"why": self.why} if self.why else {})


@dataclass(slots=True)
class Taking:
    """One run of the command, over one connection to the host."""

    session_id: str
    place: TakingPlace | None
    found: ScratchFiles = field(default_factory=lambda: ScratchFiles((), {}))
    taken: list[Taken] = field(default_factory=list)
    _names: Names = field(default_factory=Names)
    _bytes: int = 0
    _failures: int = 0

    async def run(self, link: Link) -> None:
        """List the files, and take them out where there is a place for them. Raises: KernelDied, HostEnded, OSError."""
        self.found = await link.files(self.session_id)
        if self.place is not None:
            await self._take_out(link, self.place)

    async def _take_out(self, link: Link, place: TakingPlace) -> None:
        for file in self.found.files:
            one = Taken(file)
            self.taken.append(one)
            if self._failures < FAILURES_MAX:
                await self._take(link, one, place)
            else:
                one.why = f"the kernel did not send the {FAILURES_MAX} files before it"

    async def _take(self, link: Link, one: Taken, place: TakingPlace) -> None:
        one.path, one.why = self._names.given(one.file.name), "the command ended meanwhile"
        try:
            with place.new_file(one.path) as target:
                one.why = await self._filled(link, one, target)
                target.is_whole = not one.why
            self._failures = 0
        except KernelDied as error:
            one.why, self._failures = error.message, self._failures + 1
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            one.why = "there is something of this name already, and nothing was written over"

    async def _filled(self, link: Link, one: Taken, target: NewFile) -> str:
        """Write a file, part by part; returns why it is not whole, or nothing."""
        version = None
        while True:
            part = await link.file_part(self.session_id, one.file.name, one.size_bytes)
            if version not in (None, part.version):
                return "it has changed while it was read; call this again when the step has ended"
            version, data = part.version, base64.b64decode(part.data)
            one.size_bytes, self._bytes = one.size_bytes + len(data), self._bytes + len(data)
            if one.size_bytes > FILE_MB_MAX * MB:
                return f"it has more than {FILE_MB_MAX:,} MB"
            if self._bytes > ALL_MB_MAX * MB:
                return f"{ALL_MB_MAX:,} MB are taken out at a time, and it is beyond that"
            target.write(data)
            if part.last:
                return ""


def files(
    settings: Settings, environ: Mapping[str, str], session_id: str, *, out: Path | None = None, as_json: bool = False
) -> int:
    """List a session's files, and take them out into a directory. `environ`: what the settings were made from.

    Raises:
        SessionNotFound: there is no such session. SessionElsewhere: a server has it that cannot be asked. KernelDied:
            it has no kernel. OSError: the directory cannot be used, or its disk is full.
    """
    with opened_store(settings) as store:
        find_session(store, session_id)
        holder = store.holder(session_id)
    if holder is None:
        raise KernelDied(
            f"Session {session_id} has no kernel; what was in its scratch directory ended with the last one.",
            "Take files out while a session's kernel lives.",
        )
    instead = "Let its agent's code print what the files hold, or start its server with RLM_HOST=auto."
    require_host(settings, environ, session_id, holder, instead)
    if out is None:
        return _done(Taking(session_id, None), as_json=as_json)
    with closing(TakingPlace(out)) as place:
        return _done(Taking(session_id, place), as_json=as_json)


def _done(taking: Taking, *, as_json: bool) -> int:
    try:
        ask_host(taking.run)
    except BaseException:
        if taking.taken:  # what is written by then stays, and is to be known
            _print(taking, as_json=as_json)
        raise
    _print(taking, as_json=as_json)
    is_all = not any(one.why for one in taking.taken) and not taking.found.left_out
    return 0 if taking.place is None or is_all else 1


def _print(taking: Taking, *, as_json: bool) -> None:
    if as_json:
        rows = [one.row() for one in taking.taken or map(Taken, taking.found.files)]
        print(json.dumps({"session_id": taking.session_id, "files": rows, "left_out": taking.found.left_out}))
        return
    for line in _lines(taking):
        print(line)


def _lines(taking: Taking) -> list[str]:
    found, lines = taking.found, list[str]()
    if found.files and taking.place is None:
        rows = [(_shown(file.name), f"{file.size_bytes:,}") for file in found.files]
        lines += aligned([("NAME", "BYTES"), *rows])
    elif taking.taken:
        told = [(_shown(one.file.name), *_outcome(one)) for one in taking.taken]
        lines += aligned([("NAME", "BYTES", "WRITTEN AS"), *told])
    else:
        lines.append(f"Session {taking.session_id} has no file in its scratch directory.")
    lines += [f"Left out: {count:,} {KINDS.get(kind, kind)}." for kind, count in found.left_out.items()]
    if missed := sum(bool(one.why) for one in taking.taken):
        lines.append(f"{counted(missed, 'file')} {'was' if missed == 1 else 'were'} not taken out.")
    return lines


def _shown(name: str) -> str:
    """On one line that the next ones have room beside: a kernel may call thousands of files by 4,096 characters."""
    text = printable(name)
    return text if len(text) <= NAME_CHARS_SHOWN else f"{text[: NAME_CHARS_SHOWN - 30]}…{text[-29:]}"


def _outcome(one: Taken) -> tuple[str, str]:
    return ("", f"(not taken: {one.why})") if one.why else (f"{one.size_bytes:,}", "/".join(one.path))
