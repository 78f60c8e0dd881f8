"""What directories and patterns leave out, and what is loaded all the same because it is named."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from rlm_kernel_mcp.context import ignoring
from rlm_kernel_mcp.context.patterns import ignore_rules
from rlm_kernel_mcp.context.patterns.left_out import VENDORED, VENDORED_BESIDE, VENDORED_MARKS, Skipped
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import Sources, resolve_sources
from rlm_kernel_mcp.errors import ContextNotFound, InvalidInput, RequestRefused


def write(root: Path, *names: str, text: str = "text\n") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def resolve(
    root: Path, *paths: str, exclude: tuple[str, ...] = (), top: Path | None = None, home: str | None = None
) -> Sources:
    return resolve_sources(
        paths or (".",),
        exclude=exclude,
        roots=Roots.named(top or root),
        working_dir=root,
        home=home,
        max_bytes=1_000_000,
    )


def names(found: Sources) -> list[str]:
    return [source.name for source in found.files]


def test_each_kind_is_counted_and_the_first_of_each_is_reported(tmp_path: Path) -> None:
    """One word each; a directory counts once, with all that is in it."""
    write(tmp_path, "a.txt", ".env", ".venv/x.py", "node_modules/x/y.js", "node_modules/z.js", "out.log", "old/b.txt")
    write(tmp_path, ".gitignore", text="*.log\n")
    (tmp_path / "b.bin").write_bytes(b"\0")
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    found = resolve(tmp_path, exclude=("old",))
    with build_payload(found) as payload:
        assert [document.name for document in payload.documents] == ["a.txt"]
        assert payload.skipped.counts == {
            "hidden": 3,
            "vendored": 1,
            "ignored": 1,
            "excluded": 1,
            "link": 1,
            "special": 1,
            "binary": 1,
        }
        assert payload.skipped.examples["ignored"] == "out.log: ignored"
        assert set(payload.skipped.examples) == set(payload.skipped.counts)
    assert "binary" not in found.skipped.counts


def test_what_several_paths_come_to_is_left_out_once_or_not_at_all(tmp_path: Path) -> None:
    """A directory given twice, one inside another, and one that leaves out what another path names."""
    write(tmp_path, "a.txt", ".env", "sub/.hidden", "sub/b.txt", "node_modules/x.js", "b.log")
    (tmp_path / "c.bin").write_bytes(b"\0")
    for paths in ([".", "."], [".", "sub"], ["sub", ".", "./"], [".", "**"], [f"{tmp_path}/", "."]):
        assert resolve(tmp_path, *paths).skipped.counts == {"hidden": 2, "vendored": 1}
    for paths in ([".", "node_modules", ".env", "c.bin"], ["c.bin", ".env", "node_modules", "."]):
        with build_payload(resolve(tmp_path, *paths)) as payload:
            assert payload.skipped.counts == {"hidden": 1}
            assert {one.name for one in payload.documents} >= {"c.bin", ".env", "node_modules/x.js"}


def test_the_account_stays_small_however_much_is_left_out() -> None:
    """A hundred thousand entries of names as long as they may be."""
    skipped = Skipped()
    for _ in range(100_000):
        skipped.add("n" * 4_000, "hidden")
    assert (skipped.count, len(skipped.first), len(skipped.last)) == (100_000, 20, 200 + len("…: hidden"))
    copy = skipped.copy()
    copy.add("x", "binary")
    assert "binary" not in skipped.counts


@pytest.mark.parametrize("directory", sorted(VENDORED))
def test_a_vendored_directory_is_left_out_unless_it_is_named(tmp_path: Path, directory: str) -> None:
    """By itself, by a file in it, or by a part of a pattern."""
    write(tmp_path, "a.txt", f"sub/{directory}/b.txt", f"sub/{directory}/c/d.txt")
    assert (
        names(resolve(tmp_path)) == names(resolve(tmp_path, "**")) == names(resolve(tmp_path, "**/*.txt")) == ["a.txt"]
    )
    assert resolve(tmp_path, "**").skipped.counts == {"vendored": 1}
    assert names(resolve(tmp_path, f"sub/{directory}")) == ["b.txt", "c/d.txt"]
    assert names(resolve(tmp_path, f"sub/{directory}/b.txt")) == ["b.txt"]
    assert names(resolve(tmp_path, f"**/{directory}/*.txt")) == [f"sub/{directory}/b.txt"]
    assert names(resolve(tmp_path, f"**/{directory}/**")) == [f"sub/{directory}/b.txt", f"sub/{directory}/c/d.txt"]


@pytest.mark.parametrize(
    ("directory", "beside"),
    [(directory, beside) for directory, files in VENDORED_BESIDE.items() for beside in sorted(files)],
)
def test_an_everyday_word_is_vendored_beside_what_makes_it_so(tmp_path: Path, directory: str, beside: str) -> None:
    """A directory `vendor` of contracts is loaded; one beside go.mod holds other people's code."""
    write(tmp_path, "plain/a.txt", f"plain/{directory}/b.txt", f"code/{beside}", f"code/{directory}/b.txt")
    found = resolve(tmp_path)
    assert names(found) == [f"code/{beside}", "plain/a.txt", f"plain/{directory}/b.txt"]
    assert found.skipped.first == [f"code/{directory}: vendored"]


@pytest.mark.parametrize("mark", sorted(VENDORED_MARKS))
def test_a_directory_that_says_itself_what_it_is_is_left_out(tmp_path: Path, mark: str) -> None:
    """A virtual environment under any name, a cache; named, it is loaded."""
    write(tmp_path, "a.txt", f"env/{mark}", "env/lib/b.txt")
    assert (names(resolve(tmp_path)), resolve(tmp_path).skipped.first) == (["a.txt"], ["env: vendored"])
    assert names(resolve(tmp_path, "env")) == sorted([mark, "lib/b.txt"])


def test_a_file_that_is_named_itself_is_loaded_whatever_else_holds(tmp_path: Path) -> None:
    """Hidden, ignored, vendored or excluded, alone and beside its directory."""
    write(tmp_path, ".gitignore", text="*.log\nbuild/\n")
    write(tmp_path, ".env", "a.log", "build/b.txt", "node_modules/c.js", "d.txt")
    given = (".env", "a.log", "build/b.txt", "node_modules/c.js", "d.txt")
    assert names(resolve(tmp_path, *given, exclude=("*",))) == list(given)
    assert names(resolve(tmp_path, ".", "a.log", exclude=("a.log",))) == ["d.txt", "a.log"]


def test_an_ignored_directory_that_is_named_is_loaded_with_what_it_holds(tmp_path: Path) -> None:
    """The rules above it say nothing of it any more; its own do, and so do they of a directory that is not ignored."""
    write(tmp_path, ".gitignore", text="build/\n*.log\n")
    write(tmp_path, "build/a.txt", "build/b.log", "src/a.txt", "src/b.log")
    assert names(resolve(tmp_path, "build")) == ["a.txt", "b.log"]
    assert names(resolve(tmp_path, "src")) == ["a.txt"]
    write(tmp_path, "build/.gitignore", text="a.txt\n")
    assert names(resolve(tmp_path, "build")) == ["b.log"]


def test_the_rules_above_hold_up_to_the_repository_or_to_the_root(tmp_path: Path) -> None:
    """Not those of a repository around this one, and none from outside what may be read."""
    write(tmp_path, ".gitignore", text="a.txt\n")
    write(tmp_path, "one/.gitignore", text="b.txt\n")
    for name in "abc":
        write(tmp_path, f"one/two/{name}.txt")
    assert names(resolve(tmp_path / "one/two", top=tmp_path)) == ["c.txt"]
    assert names(resolve(tmp_path / "one/two", top=tmp_path / "one")) == ["a.txt", "c.txt"]
    assert names(resolve(tmp_path / "one/two")) == ["a.txt", "b.txt", "c.txt"]
    (tmp_path / "one/.git").mkdir()
    assert names(resolve(tmp_path / "one/two", top=tmp_path)) == ["a.txt", "c.txt"]
    assert names(resolve(tmp_path)) == ["one/two/a.txt", "one/two/c.txt"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.log", ["a.log"]),
        ("**/*.log", ["a.log", "sub/c.log"]),
        ("sub/*", ["sub/d.txt"]),
        ("**", ["b.txt", "sub/d.txt"]),
        ("build/*.txt", ["build/e.txt"]),
        ("b*/*.txt", ["build/e.txt"]),
        ("*/*.txt", ["sub/d.txt"]),
    ],
)
def test_a_pattern_takes_what_a_part_of_it_names(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    """`*.log` means the logs, also where .gitignore does not want them in git; `*` and `**` are directories."""
    write(tmp_path, ".gitignore", text="*.log\nbuild/\n")
    write(tmp_path, "a.log", "b.txt", "sub/c.log", "sub/d.txt", "build/e.txt")
    assert [os.path.relpath(source.real, tmp_path) for source in resolve(tmp_path, pattern).files] == expected


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ((), ["a.py", "docs/a.md", "lib/b.min.js", "lib/tests/c.py", "tests/d.py"]),
        (("*.py",), ["docs/a.md", "lib/b.min.js"]),
        (("*.{{py,md}}",), ["lib/b.min.js"]),
        (("{{docs,lib}}/**",), ["a.py", "tests/d.py"]),
        (("tests",), ["a.py", "docs/a.md", "lib/b.min.js"]),
        (("tests/",), ["a.py", "docs/a.md", "lib/b.min.js"]),
        (("/tests",), ["a.py", "docs/a.md", "lib/b.min.js", "lib/tests/c.py"]),
        (("tests/**",), ["a.py", "docs/a.md", "lib/b.min.js", "lib/tests/c.py"]),
        (("**/tests/**",), ["a.py", "docs/a.md", "lib/b.min.js"]),
        (("**/tests/**/*", "docs/*"), ["a.py", "lib/b.min.js"]),
        (("*.min.js", "./lib/tests/*.py"), ["a.py", "docs/a.md", "tests/d.py"]),
        (("proj/lib/**",), ["a.py", "docs/a.md", "tests/d.py"]),
        (("{root}/proj/lib/tests",), ["a.py", "docs/a.md", "lib/b.min.js", "tests/d.py"]),
        (("../{here}/proj/docs/",), ["a.py", "lib/b.min.js", "lib/tests/c.py", "tests/d.py"]),
        (("~/proj/docs",), ["a.py", "lib/b.min.js", "lib/tests/c.py", "tests/d.py"]),
    ],
)
def test_exclude_leaves_out_what_its_patterns_match(tmp_path: Path, exclude: tuple[str, ...], left: list[str]) -> None:
    """Without a slash at any depth; with one from the given directory, the working directory, or the root."""
    write(tmp_path / "proj", "a.py", "docs/a.md", "lib/b.min.js", "lib/tests/c.py", "tests/d.py")
    patterns = tuple(one.format(root=tmp_path, here=tmp_path.name) for one in exclude)
    for given in ("proj", "proj/**", str(tmp_path / "proj")):
        found = resolve(tmp_path, given, exclude=patterns, home=str(tmp_path))
        assert names(found) == left
        assert set(found.skipped.counts) == ({"excluded"} if exclude else set())


@pytest.mark.parametrize("pattern", ["!a", "", "/", "a[", "a\\", "x" * 5_000, "\ud800"])
def test_an_exclude_that_can_match_nothing_is_refused(tmp_path: Path, pattern: str) -> None:
    """Rather than to leave nothing out in silence."""
    write(tmp_path, "a.txt")
    with pytest.raises(InvalidInput, match=r"^exclude has"):
        resolve(tmp_path, exclude=(pattern,))
    with pytest.raises(InvalidInput, match="the limit is 1,000 patterns"):
        resolve(tmp_path, exclude=("a",) * 1_001)


def test_where_everything_is_left_out_the_error_says_by_what(tmp_path: Path) -> None:
    """The agent reads what to name."""
    write(tmp_path, "a.log")
    write(tmp_path, ".gitignore", text="*.log\n")
    with pytest.raises(
        ContextNotFound, match=r"no file to load \(2 skipped, such as (a\.log: ignored|\.gitignore: hidden)\)"
    ):
        resolve(tmp_path)


def test_a_rules_file_that_cannot_be_honoured_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many rules are said; a link, a FIFO or a directory of that name is no rules file, as for git."""
    monkeypatch.setattr(ignore_rules, "RULE_LIMIT", 1)
    write(tmp_path, "many/a", "many/b", "few/a", "linked/a", "directory/.gitignore/x", "directory/a", "pipe/a")
    write(tmp_path, "many/.gitignore", text="a\nb\n")
    write(tmp_path, "few/.gitignore", text="a\n")
    (tmp_path / "linked/.gitignore").symlink_to("../few/.gitignore")
    os.mkfifo(tmp_path / "pipe/.gitignore")
    found = resolve(tmp_path)
    assert names(found) == ["directory/a", "linked/a", "many/a", "many/b", "pipe/a"]
    assert "many/.gitignore: its rules are not applied: it has more than 1 rules" in found.skipped.first
    assert found.skipped.counts["unreadable"] == 1


def test_a_tree_that_changes_while_it_is_walked_is_listed_or_refused_and_never_left(tmp_path: Path) -> None:
    """A thread renames, deletes, links to outside, puts files in their place: no other error, and no secret."""
    root = tmp_path / "root"
    write(tmp_path, "outside/secret.txt", text="secret")
    write(root, *(f"{top}/{sub}/{name}.txt" for top in "abc" for sub in "de" for name in "fg"))
    stop = threading.Event()
    rounds: list[int] = []
    loaded: list[int] = []

    def change() -> None:
        while not stop.is_set():
            (root / "a/d").rename(root / "a/moved")
            (root / "a/d").symlink_to(tmp_path / "outside")
            (root / "b/e/f.txt").unlink()
            (root / "b/e/f.txt").symlink_to(tmp_path / "outside/secret.txt")
            (root / "c").rename(root / "gone")
            (root / "c").write_text("a file now")
            (root / ".gitignore").write_text("*.md\n")
            (root / "c").unlink()
            (root / "gone").rename(root / "c")
            (root / "b/e/f.txt").unlink()
            (root / "b/e/f.txt").write_text("text\n")
            (root / "a/d").unlink()
            (root / "a/moved").rename(root / "a/d")
            (root / ".gitignore").unlink()
            rounds.append(1)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        while len(rounds) < 300 and changer.is_alive():
            with suppress(RequestRefused), build_payload(resolve(root, ".", "*/d/*")) as payload:
                assert payload.descriptor is not None
                assert b"secret" not in os.pread(payload.descriptor, 1_000_000, 0)
                loaded.append(payload.byte_count)
    finally:
        stop.set()
        changer.join()
    assert len(rounds) >= 300
    assert loaded


def test_rules_are_bounded_over_all_files_of_a_request_and_each_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of 256 KB takes two seconds: a thousand of them, or a thousand links below one, would hold up everybody.

    Beyond the bound a file is told of and does not count; one that was read counts again.
    """
    write(tmp_path, ".gitignore", text="*.log\n")
    write(tmp_path, *(f"{place}/{name}" for place in "abc" for name in ("x.log", "y.tmp", "z.txt")))
    for place in "abc":
        write(tmp_path, f"{place}/.gitignore", text=f"*.tmp\n# {place}\n")
    for number in range(9):
        (tmp_path / f"link{number}").symlink_to("a")
    monkeypatch.setattr(ignoring, "ALL_RULES_BYTES", len("*.log\n") + 2 * len("*.tmp\n# a\n"))
    found = resolve(tmp_path)
    assert found.skipped.counts["ignored"] == 3 + 2
    assert found.skipped.examples["unreadable"].endswith(
        "/.gitignore: its rules are not applied: with those before it, it has more than 26 bytes"
    )
    assert len(names(found)) == 3 + 1
    linked = resolve(tmp_path, "link*/*")
    assert [name[len("link0/") :] for name in names(linked)] == ["z.txt"]
    assert "unreadable" not in linked.skipped.counts
