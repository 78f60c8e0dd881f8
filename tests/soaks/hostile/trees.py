"""Parts of `bin/soak hostile`: compressed bombs, links in circles, trees that change, names that are no text.

Is: what a user's directory may hold by malice or by chance, each held against what another program says. Is not: the
run (`sources.py`).
"""

# Names need not be texts.
# ruff: noqa: PTH102, PTH103, PTH104, PTH118, PTH123, PTH211

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import RlmError
from tests.soaks.hostile.room import MB, HostileRoom, meanwhile

PACKERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gz": lambda data: gzip.compress(data, 9),
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


async def bombs(room: HostileRoom) -> str:
    """Files that unpack to gigabytes, alone, many, inside each other, cut off, and with rubbish behind their end."""
    size, refused = room.times(4096) * MB, 0
    for end, pack in PACKERS.items():
        place = room.directory / end
        place.mkdir()
        member = pack(b"0" * (16 * MB))
        bomb = member * (size // (16 * MB) + 8)
        (place / f"bomb.{end}").write_bytes(bomb)
        (place / f"twice.{end}").write_bytes(pack(bomb[: 64 * MB]))
        (place / f"cut.{end}").write_bytes(member[: len(member) // 2])
        (place / f"rubbish.{end}").write_bytes(pack(b"text\n") + room.chance.randbytes(4_000))
        for name in ("bomb", "cut", "rubbish"):
            opened = await room.open(place / f"{name}.{end}")
            room.check(isinstance(opened, RlmError), f"{name}.{end} was opened")
            refused += isinstance(opened, RlmError)
        many = place / "many"
        many.mkdir()
        (many / "good.txt").write_text("good\n")
        for number in range(20):
            (many / f"{number}.{end}").write_bytes(member * 16)
        opened = await room.open(many)
        room.check(isinstance(opened, RlmError) or opened[1].bytes <= 4096 * MB, f"many bombs of {end} were opened")
        shutil.rmtree(place)
    return f"{refused} bombs and broken streams refused, of {size // MB:,} MB each"


async def loops(room: HostileRoom) -> str:
    """Links to themselves, to each other, to the directory above, to the roots, to devices and out of them."""
    (room.directory / "sub").mkdir()
    (room.directory / "a.txt").write_text("a\n")
    (room.directory / "sub" / "b.txt").write_text("b\n")
    links = {
        "self": "self", "here": "there", "there": "here", "up": "..", "dot": ".", "sub/back": "../sub",
        "null": "/dev/null", "zero": "/dev/zero", "tty": "/dev/tty", "proc": "/proc/self/environ", "out": "/etc/passwd",
        "missing": "nowhere", "good": "a.txt", "sub/root": "/",
    }  # fmt: skip
    for name, target in links.items():
        os.symlink(target, room.directory / name)
    for number in range(100):  # a chain longer than the system follows
        os.symlink(f"chain{number + 1}", room.directory / f"chain{number}")
    os.mkfifo(room.directory / "fifo")
    opened = await room.open(room.directory)
    assert not isinstance(opened, RlmError), opened
    session, told = opened
    names = {one.name for one in told.documents}
    found = _found(room.directory)
    room.check(names - {"good"} == found, f"documents are {sorted(names)}")
    room.check((await session.ok("documents['a.txt'] + documents['sub/b.txt']")).result == repr("a\nb\n"), "texts")
    for name in (*links, "fifo", "chain0"):
        one = await room.open(room.directory / name)
        is_fine = name in ("up", "dot", "good", "sub/back")
        room.check(isinstance(one, RlmError) != is_fine, f"{name}: {one}")
    for pattern in ("**/*", "*/*/*/*", "**/**/**/*.txt"):
        room.check(not isinstance(await room.open(room.directory / pattern), RlmError), f"{pattern} finds nothing")
    return f"{len(links) + 102} entries that are no files, {sum(told.skipped.values())} left out"


async def walked(room: HostileRoom) -> str:
    """A tree in which files and directories come, go, move and become links while it is opened, many times."""
    base, chance = room.directory, room.chance
    texts = {f"text of {number}\n" * chance.randint(1, 4_000) for number in range(40)}
    by_choice = sorted(texts)

    def change() -> None:
        name = f"d{chance.randrange(8)}/f{chance.randrange(30)}.txt"
        path, way = base / name, chance.randrange(8)
        os.makedirs(path.parent, exist_ok=True)
        if way < 4:
            fresh = path.with_suffix(".new")
            fresh.write_text(chance.choice(by_choice))
            fresh.rename(path)
        elif way == 4:
            path.unlink(missing_ok=True)
        elif way == 5:
            shutil.rmtree(base / f"d{chance.randrange(8)}", ignore_errors=True)
        elif way == 6:
            os.rename(base / f"d{chance.randrange(8)}", base / f"d{chance.randrange(8)}")
        else:
            path.unlink(missing_ok=True)
            os.symlink(chance.choice(["/etc/passwd", "../d0", "nowhere", "/proc/self/environ"]), path)

    for _ in range(500):
        try:
            change()
        except OSError:
            continue
    opened, refused, documents = 0, 0, 0
    for _ in range(room.times(200)):
        with meanwhile(change):
            one = await room.open(base)
        if isinstance(one, RlmError):
            refused += 1
            continue
        session, told = one
        opened, documents = opened + 1, documents + told.document_count
        # One that was just being written to stands under another name.
        kept = "{t for n, t in documents.items() if n.endswith('.txt')} - set(known)"
        await session.ok(f"known = {by_choice!r}")
        room.check((await session.ok(kept)).result == "set()", "a document is none of the texts that were ever written")
        await session.finalize(text="done")
    return f"{opened} times opened, {refused} refused, {documents:,} documents"


async def names(room: HostileRoom) -> str:
    """Names of random bytes, line ends, quotes and marks of direction, in small trees and in what a loader reads."""
    count = 0
    for round_, size in enumerate((10, 10, MB)):
        base = os.fsencode(room.directory / str(round_))
        os.mkdir(base)
        expected: dict[bytes, bytes] = {}
        for number in range(60):
            drawn = bytes(room.chance.choices([*range(1, 47), *range(48, 256)], k=room.chance.randint(1, 60)))
            name = b"n" + drawn if drawn.startswith(b".") else drawn
            if name.lower().endswith((b".gz", b".xz", b".bz2", b".zst", b".zip", b".tar")) or name.endswith(b"~"):
                continue
            text = f"{number}\n".encode() * size
            _write(os.path.join(base, name), text[: size * 4])
            expected[name] = text[: size * 4]
        opened = await room.open(Path(os.fsdecode(base)))
        assert not isinstance(opened, RlmError), opened
        session, told = opened
        room.check(told.document_count == len(expected), f"{told.document_count} documents of {len(expected)}")
        answer = await session.ok("sorted(len(t) for t in documents.values()), len(set(documents)), len(context)")
        sizes = sorted(map(len, expected.values()))
        room.check(
            (await session.ok(f"{sizes!r} == sorted(len(t) for t in documents.values())")).result == "True",
            f"sizes: {answer.result}",
        )
        plain = "all(n.isprintable() for n in documents)"
        room.check((await session.ok(plain)).result == "True", "a name that acts")
        count += len(expected)
        await session.finalize(text="done")
        shutil.rmtree(base)
    return f"{count} files"


def _found(directory: Path) -> set[str]:
    """The regular files below it."""
    command = ["find", ".", "-type", "f", "-printf", "%P\\n"]
    return set(subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout.split())


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
