"""Random trees with .gitignore files, and what git and we make of them.

Is: trees whose rules are made of their own paths, so that they often match; git's own answer for each file. Is not: a
run: `real_directories.py` plays many, `test_ignore_rules.py` a few.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import resolve_sources
from rlm_kernel_mcp.errors import ContextNotFound

NAMES = ("a", "b", "c", "ab", "abc", "a.b", "-", "]", "[", "!a", "#a", "a ", "ä", "a\\b", "A", "1", "*", "\udcff")
PIECES = (
    *("a", "b", "c", "*", "**", "?", "/", "/", "**/", "/**", "!", "\\", "-", ".", "#", " ", "\\ ", "ä", "A", "1"),
    *("***", "[a-c]", "[!a]", "[^b]", "[]]", "[a", "[[:alpha:]]", "[[:nope:]]", "[a-]", "[\\]]", "[b-\\c]", "[[:", "]"),
    *("[A-Z]", "[a/b]", "[/]", "\r", "\t", "\0", "[[:space:]]", "[\udcc3-\udcff]", "\udcff", "!*", "*/", "/*"),
)


class Plan:
    """A tree of directories and files, some with a .gitignore whose rules are made of the tree's own paths."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.directories: list[str] = ["."]
        self.files: list[str] = []
        self._grow("", 0)

    def _grow(self, above: str, depth: int) -> None:
        for name in self._random.sample(NAMES, self._random.randint(2, 6)):
            path = above + name
            if depth < 3 and self._random.random() < 0.5:
                self.directories.append(path)
                self._grow(path + "/", depth + 1)
            else:
                self.files.append(path)

    def plant(self, root: Path) -> None:
        for directory in self.directories:
            (root / directory).mkdir(exist_ok=True)
        for file in self.files:
            (root / file).write_bytes(b"x")
        for directory in self._random.sample(self.directories, min(3, len(self.directories))):
            rules = [self._rule(directory) for _ in range(self._random.randint(1, 5))]
            (root / directory / ".gitignore").write_bytes(os.fsencode(self._random.choice(["\n", "\r\n"]).join(rules)))

    def _rule(self, directory: str) -> str:
        chosen = self._random
        below = [path for path in self.directories + self.files if directory == "." or path.startswith(directory + "/")]
        if not below or chosen.random() < 0.4:
            return "".join(chosen.choice(PIECES) for _ in range(chosen.randint(1, 6)))
        path = chosen.choice(below)[0 if directory == "." else len(directory) + 1 :]
        parts = [part if chosen.random() < 0.6 else self._like(part) for part in path.split("/")]
        start = chosen.choice(["", "", "/", "**/", "!", "!/", "\\"])
        return start + "/".join(parts) + chosen.choice(["", "", "/", "/**", "/*", " ", "\\ ", "  \\", "*"])

    def _like(self, name: str) -> str:
        at = self._random.randrange(len(name) + 1)
        piece = self._random.choice(["*", "**", "?", "[a-c]", "[!a-c]", "***", "\\" + name[at : at + 1], "**/"])
        return self._random.choice([piece, name[:at] + piece + name[at + 1 :], name[:at] + piece])


def repository_in(root: Path) -> Path:
    """An empty repository of git's, with no rules of its own elsewhere."""
    subprocess.run(["git", "init", "-q", root], check=True)
    (root / ".git/info/exclude").unlink(missing_ok=True)
    return root


def files_of_git(root: Path) -> set[str]:
    """The files that git does not ignore: it is asked about each one of the tree."""
    listed = subprocess.run(
        ["find", root, "-name", ".git", "-prune", "-o", "-type", "f", "-print0"], check=True, capture_output=True
    )
    start = len(os.fsencode(root)) + 1
    files = [os.fsdecode(line[start:]) for line in listed.stdout.split(b"\0") if line]
    files = [path for path in files if not path.endswith(".gitignore")]
    asked = ["git", "-C", str(root), "-c", "core.excludesFile=", "check-ignore", "--no-index", "-z", "--stdin"]
    answer = subprocess.run(asked, input=os.fsencode("\0".join(files)), capture_output=True, check=False)
    assert answer.returncode in (0, 1), answer.stderr
    return set(files) - set(os.fsdecode(answer.stdout).split("\0"))


def files_of_ours(root: Path, *paths: str) -> set[str]:
    try:
        found = resolve_sources(paths or (".",), roots=Roots.named(root), working_dir=root, max_bytes=1_000_000)
    except ContextNotFound:
        return set()
    return {os.path.relpath(source.real, root) for source in found.files}


def difference(repository: Path, seed: int) -> str | None:
    """Plant a tree, ask both, and clear it away; what one has and the other has not, if anything."""
    Plan(seed).plant(repository)
    try:
        ours, theirs = files_of_ours(repository), files_of_git(repository)
    finally:
        for entry in list(repository.iterdir()):
            if entry.name != ".git":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    if ours == theirs:
        return None
    return f"seed {seed}: only here {sorted(ours - theirs)[:3]!r}, only for git {sorted(theirs - ours)[:3]!r}"
