"""Real directories and random ones, loaded and held against `find`, `cat`, `sha256sum`, `iconv`, `wc` and git.

`bin/soak sources [DIRECTORY ...] --trees 2000`. Is: which files are meant and in which order, their bytes in one hash,
what is binary, how each is encoded, that the bytes can be had back, how many characters there are, and which lines and
bytes `grep -n` and `file` say; each by a program that is not ours. Is not: a server: what a kernel makes of it is
`tests/kernel`'s.
"""

# Names need not be texts, and are compared as they are.
# ruff: noqa: PTH118, PTH120, PTH123

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.context.documents import Document
from rlm_kernel_mcp.context.patterns.left_out import VENDORED, VENDORED_BESIDE, VENDORED_MARKS
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import Sources, resolve_sources
from rlm_kernel_mcp.errors import ContextNotFound
from tests.unit.context.patterns.ignored_trees import difference, repository_in

LIBRARY: Final = sysconfig.get_path("stdlib")
USUAL: Final = (
    *(LIBRARY, "/usr/lib/python3", "/usr/share/man", "/usr/share/doc", "/usr/share/locale"),
    *("/usr/share/i18n", "/usr/share/perl", "/usr/include", "/usr/share/zoneinfo", "/etc", "/var/log", "/var/lib/dpkg"),
)
MAX_BYTES: Final = 1 << 36
PROBLEMS_SHOWN: Final = 10
PLACED_MAX: Final = 300
KINDS: Final = {
    "us-ascii": ("utf-8", "latin-1"),
    "utf-8": ("utf-8", "utf-8-sig", "latin-1"),
    "utf-16le": ("utf-16",),
    "utf-16be": ("utf-16",),
    "iso-8859-1": ("latin-1", "utf-8"),
}
"""What a file may be by which word of `file`."""


def problems_of(directory: Path) -> tuple[list[str], dict[str, int]]:
    """What is wrong with a directory as we load it, and how much was compared."""
    root = directory.resolve()
    listed = set(_found(root))
    try:
        sources = resolve_sources([str(root)], roots=Roots.named(root), working_dir=root, max_bytes=MAX_BYTES)
    except ContextNotFound:
        wrong = [f"{root}: find has {len(listed)} files, we have none"] if listed else []
        return wrong, {"files": 0}
    try:
        loaded = build_payload(sources, copy=True)
    except ContextNotFound:
        wrong = list(_not_binary(source.real for source in sources.files))
        return wrong, {"files": len(sources.files), "documents": 0, "binary": len(sources.files)}
    with loaded as payload:
        problems = [*_listing_problems(root, sources, listed), *_payload_problems(sources, payload)]
        numbers = {
            "files": len(sources.files),
            "documents": len(payload.documents),
            "bytes": payload.byte_count,
            "binary": payload.skipped.counts.get("binary", 0),
            "not_utf8": sum(document.encoding == "latin-1" for document in payload.documents),
            "undecodable_bytes": sum(payload.undecodable.values()),
        }
    return problems, numbers


def _found(root: Path) -> Iterator[str]:
    """The regular files that find and git see: nothing hidden, vendored or ignored."""
    vendored = [part for name in sorted(VENDORED) for part in ("-o", "-name", name)][1:]
    left_out = ["(", "-name", ".?*", "-o", "-type", "d", "(", *vendored, ")", ")", "-prune", "-o"]
    files = _lines(["find", str(root), "-mindepth", "1", *left_out, "-type", "f", "-print0"])
    marks = [part for name in sorted(VENDORED_MARKS) for part in ("-o", "-name", name)][1:]
    marked = {os.path.dirname(path) for path in _lines(["find", str(root), "-mindepth", "2", *marks, "-print0"])}
    for name, beside in VENDORED_BESIDE.items():
        for path in _lines(["find", str(root), "-type", "d", "-name", name, "-print0"]):
            if any(os.path.lexists(os.path.join(os.path.dirname(path), one)) for one in beside):
                marked.add(path)
    inside = [path for path in files if not any(path.startswith(directory + "/") for directory in marked)]
    ignored = _ignored(root, inside)
    yield from (path for path in inside if path not in ignored)


def _ignored(root: Path, paths: list[str]) -> set[str]:
    if not _lines(["find", str(root), "-name", ".gitignore", "-print0"]):
        return set()
    with tempfile.TemporaryDirectory(prefix="rlm-soak-") as empty:
        subprocess.run(["git", "init", "-q", "--bare", empty], check=True)
        asked = ["git", f"--git-dir={empty}", f"--work-tree={root}", "-c", "core.excludesFile=", "check-ignore"]
        answer = subprocess.run(
            [*asked, "--no-index", "-z", "--stdin"],
            input=os.fsencode("\0".join(os.path.relpath(path, root) for path in paths)),
            capture_output=True,
            cwd=root,
            check=False,
        )
    return {os.path.join(root, os.fsdecode(line)) for line in answer.stdout.split(b"\0") if line}


def _listing_problems(root: Path, sources: Sources, listed: set[str]) -> Iterator[str]:
    ours = {source.real for source in sources.files}
    if missing := listed - ours:
        yield f"{root}: {len(missing)} files of find's are missing, such as {min(missing)!r}"
    links = {os.path.realpath(path) for path in _lines(["find", str(root), "-type", "l", "-print0"])}
    if more := ours - listed - links:
        yield f"{root}: {len(more)} files that find has not, such as {min(more)!r}"
    names = [source.name for source in sources.files]
    if len(set(names)) != len(names):
        yield f"{root}: names that are not unique"
    for source in sources.files:
        path = os.path.join(sources.prefix, source.name)
        if source.name.isprintable() and "\\" not in source.name and os.path.realpath(path) != source.real:
            yield f"{root}: the name {source.name!r} does not lead to {source.real!r}"
            return


def _payload_problems(sources: Sources, payload: Payload) -> Iterator[str]:
    paths = [document.path for document in payload.documents if document.path is not None]
    if _sum_of(paths) != payload.sha256:
        yield f"{sources.prefix}: sha256sum of the files one after the other is another"
    yield from _not_binary({source.real for source in sources.files} - set(paths))
    valid = _valid([document.path for document in payload.documents if document.path])
    chars = 0
    for document in payload.documents:
        yield from _document_problems(document, is_valid=document.path in valid)
        if document.path in valid and document.path is not None:
            chars += len(Path(document.path).read_bytes().decode())
    counted = _counted([path for path in paths if path in valid])
    if chars != counted:
        yield f"{sources.prefix}: {chars:,} characters of valid UTF-8, and {counted:,} for wc"
    yield from _place_problems(payload)
    yield from _kind_problems(payload)


def _place_problems(payload: Payload) -> Iterator[str]:
    """Lines and bytes of matches, which `grep -n` counts, in the first documents that have some."""
    places = payload.places()
    for number, document in enumerate(payload.documents[:PLACED_MAX]):
        if document.path is None or document.encoding in ("utf-16", "utf-32"):
            continue
        with open(document.path, "rb") as file:
            for line, byte in _matches(document.path):
                block = places.in_block_of_byte(
                    number, byte, lambda offset, size: os.pread(file.fileno(), size, offset)
                )
                found = block.at_byte(byte)
                if (found.line, found.byte) != (line, byte):
                    yield f"{document.path}: byte {byte:,} is in line {line:,} for grep, and {found} here"
                    break


def _matches(path: str) -> Iterator[tuple[int, int]]:
    """Of an `e`: the first, and one of each thousand."""
    for place, row in enumerate(_lines(["sh", "-c", 'LC_ALL=C grep -abno e -- "$1" | tr "\\n" "\\0"', "sh", path])):
        if place % 1_000 == 0:
            line, byte, _ = row.split(":", 2)
            yield int(line), int(byte)


def _kind_problems(payload: Payload) -> Iterator[str]:
    """`file` looks at the beginning of each alone, so what it says is less than all, and never the contrary."""
    if shutil.which("file") is None:
        return
    with tempfile.NamedTemporaryFile() as names:
        paths = [one.path for one in payload.documents if one.path and "\n" not in one.path][: PLACED_MAX * 10]
        names.write(os.fsencode("".join(f"{path}\n" for path in paths)))
        names.flush()
        asked = ["file", "--brief", "--mime-encoding", "--files-from", names.name]
        told = subprocess.run(asked, capture_output=True, check=True, text=True).stdout.split()
    encodings = {one.path: one.encoding for one in payload.documents}
    for path, kind in zip(paths, told, strict=True):
        if encodings[path] not in KINDS.get(kind, encodings[path]):
            yield f"{path}: {encodings[path]}, and {kind} for file"


def _not_binary(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        with open(path, "rb") as file:
            if b"\0" not in file.read(1 << 16):
                yield f"{path}: left out as binary, and has no NUL in its first 64 KB"


def _document_problems(document: Document, *, is_valid: bool) -> Iterator[str]:
    assert document.path is not None
    is_told = document.encoding == "latin-1" or document.undecodable_bytes > 0
    if document.encoding in ("utf-8", "utf-8-sig", "latin-1") and is_valid == is_told:
        yield f"{document.path}: {document.encoding} with {document.undecodable_bytes}, and iconv says otherwise"
    data = Path(document.path).read_bytes()
    text = data.decode(document.encoding, document.errors)
    if (
        document.encoding in ("utf-8", "utf-8-sig", "latin-1")
        and text.encode(document.encoding, document.errors) != data
    ):
        yield f"{document.path}: its bytes cannot be had back"


def _valid(paths: list[str]) -> set[str]:
    """The files in which iconv finds nothing but UTF-8."""
    script = 'for path; do iconv -f UTF-8 -t UTF-8 -- "$path" > /dev/null 2>&1 && printf "%s\\0" "$path"; done; :'
    valid: set[str] = set()
    for start in range(0, len(paths), 200):
        valid.update(_lines(["sh", "-c", script, "sh", *paths[start : start + 200]]))
    return valid


def _counted(paths: list[str]) -> int:
    script = 'xargs -0 cat -- < "$1" | LC_ALL=C.UTF-8 wc -m'
    return int(_with_list(script, paths) or 0)


def _sum_of(paths: list[str]) -> str:
    return _with_list('xargs -0 -r cat -- < "$1" | sha256sum', paths).split()[0]


def _with_list(script: str, paths: list[str]) -> str:
    with tempfile.NamedTemporaryFile() as names:
        names.write(os.fsencode("\0".join(paths)))
        names.flush()
        return subprocess.run(["sh", "-c", script, "sh", names.name], check=True, capture_output=True, text=True).stdout


def _lines(command: list[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, check=False)
    return [os.fsdecode(line) for line in done.stdout.split(b"\0") if line]


def main(argv: Sequence[str]) -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="bin/soak sources", description=__doc__)
    parser.add_argument("directories", nargs="*", metavar="DIRECTORY", help="default: what a machine has")
    parser.add_argument("--trees", type=int, default=2_000, help="random trees with .gitignore files (default 2000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    problems: list[str] = []
    for directory in map(Path, options.directories or USUAL):
        if directory.is_dir():
            wrong, numbers = problems_of(directory)
            problems += wrong
            name = "the standard library" if directory == Path(LIBRARY) else directory
            print(f"{name}: {', '.join(f'{count:,} {what}' for what, count in numbers.items())}", flush=True)
    with tempfile.TemporaryDirectory(prefix="rlm-soak-") as place:
        repository = repository_in(Path(place))
        seeds = range(options.seed, options.seed + options.trees)
        problems += [found for seed in seeds if (found := difference(repository, seed))]
    for problem in problems[:PROBLEMS_SHOWN]:
        print(problem)
    print(json.dumps({"soak": "sources", "trees": options.trees, "seed": options.seed, "wrong": len(problems)}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
