"""What a request for `context_paths` means: which files, in which order, under which names, and what is refused."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.context import listing, sources
from rlm_kernel_mcp.context.patterns.globs import Glob
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.roots.opening import open_below
from rlm_kernel_mcp.context.sources import Sources, resolve_sources
from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, ContextTooLarge, InvalidInput, RequestRefused
from tests.rights import reachable_directory, without_root_rights


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An allowed root beside a directory that is not."""
    directory = tmp_path / "allowed"
    directory.mkdir()
    secret = tmp_path / "outside"
    secret.mkdir()
    (secret / "secret.txt").write_text("secret")
    return directory


def write(root: Path, *names: str, data: bytes = b"text\n") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def resolve(
    root: Path, *paths: str, working_dir: Path | None = None, max_bytes: int = 1_000_000, home: str | None = None
) -> Sources:
    return resolve_sources(
        paths, roots=Roots.named(root), working_dir=working_dir or root, max_bytes=max_bytes, home=home
    )


def names(found: Sources) -> list[str]:
    return [source.name for source in found.files]


@pytest.fixture
def open_root() -> Iterator[Path]:
    """A root that the user of `without_root_rights` owns and can reach."""
    with reachable_directory() as directory:
        yield directory


def test_paths_keep_their_order_and_folders_are_sorted_by_name(root: Path) -> None:
    """`cat b a` stays b, a; inside a directory the order is that of the paths."""
    write(root, "b.txt", "a.txt", "d/2.txt", "d/10.txt", "d/sub/1.txt", "d/Z.txt")
    found = resolve(root, "b.txt", "d", "a.txt")
    assert names(found) == ["b.txt", "d/10.txt", "d/2.txt", "d/Z.txt", "d/sub/1.txt", "a.txt"]


def test_each_file_is_taken_once_however_often_it_is_reached(root: Path) -> None:
    """By itself, by its directory, by a glob, by another spelling and by a link."""
    write(root, "d/a.txt", "d/b.txt")
    (root / "d" / "0-link.txt").symlink_to("a.txt")
    (root / "other.txt").symlink_to("d/b.txt")
    found = resolve(root, "d", "./d/a.txt", str(root / "d/b.txt"), "d/*.txt", "other.txt", "d/../d")
    assert names(found) == ["d/a.txt", "d/b.txt"]


def test_a_name_is_relative_to_what_was_given(tmp_path: Path, root: Path) -> None:
    """To the directory, the glob's fixed part, the file's own directory; however it was written, and from wherever."""
    write(root, "logs/2026/a.txt", "logs/b.txt")
    given = [
        resolve(root, str(root / "logs")),
        resolve(root, ".", working_dir=root / "logs"),
        resolve(root, "allowed/logs/*", "allowed/logs/2026", working_dir=tmp_path),
        resolve(root, "../allowed/logs", working_dir=tmp_path / "outside"),
        resolve(root, "logs/2026/../**/*.txt"),
        resolve(root, "logs/b.txt", "logs/2026/a.txt"),
    ]
    assert {one.prefix for one in given} == {str(root / "logs")}
    assert {tuple(sorted(names(one))) for one in given} == {("2026/a.txt", "b.txt")}
    assert [(one.prefix, names(one)) for one in (resolve(root, "logs/2026/a.txt"), resolve(root, "logs/2026"))] == [
        (str(root / "logs/2026"), ["a.txt"])
    ] * 2


def test_of_several_paths_the_common_prefix_is_reported_once_and_names_are_relative_to_it(tmp_path: Path) -> None:
    """Two directories of the same name, and two globs far down: the first part of a name says which."""
    for directory in ("one/logs", "two/logs", "lib/json", "lib/email/mime"):
        write(tmp_path / "far" / directory, "a.txt")
    twins = resolve(tmp_path, "far/one/logs", "far/two/logs")
    assert (twins.prefix, names(twins)) == (str(tmp_path / "far"), ["one/logs/a.txt", "two/logs/a.txt"])
    globs = resolve(tmp_path, str(tmp_path / "far/lib/json/*.txt"), "far/lib/email/**")
    assert (globs.prefix, names(globs)) == (str(tmp_path / "far/lib"), ["json/a.txt", "email/mime/a.txt"])
    for found in (twins, globs):
        assert [os.path.join(found.prefix, source.name) for source in found.files] == [  # noqa: PTH118 (what a reader does)
            source.real for source in found.files
        ]
    roots = (tmp_path / "far/one", tmp_path / "far/two")
    apart = resolve_sources(
        [str(one) for one in roots], roots=Roots.named(*roots), working_dir=Path("/"), max_bytes=100
    )
    assert names(apart) == ["one/logs/a.txt", "two/logs/a.txt"]


def test_names_are_unique_where_two_files_print_alike(root: Path) -> None:
    """A byte that is no UTF-8, and a file whose name is its escape."""
    for name in (b"\xff", b"\\xff", b"\\xff (2)"):
        (root / os.fsdecode(name)).write_text("x")
    found = resolve(root, ".")
    assert len(set(names(found))) == 3
    assert names(found) == names(resolve(root, "."))


def test_names_are_printable_whatever_the_file_system_holds(root: Path) -> None:
    """Line feeds, escapes, right-to-left marks and bytes that are not UTF-8 become backslash escapes."""
    for name in (b"new\nline", b"\x1b[2J", b"\xff\xfe", "a\u202eb".encode(), "grün".encode()):
        (root / os.fsdecode(name)).write_text("x")
    found = resolve(root, ".")
    assert sorted(names(found)) == sorted(["new\\nline", "\\x1b[2J", "\\xff\\xfe", "a\\u202eb", "grün"])
    assert all(name.isprintable() for name in names(found))


def test_hidden_entries_count_only_where_they_are_named(root: Path) -> None:
    """A directory leaves them out and says so; a path or a pattern with the dot takes them."""
    write(root, "a.txt", ".env", ".git/config", "sub/.b.txt")
    found = resolve(root, ".")
    assert names(found) == ["a.txt"]
    assert found.skipped.counts == {"hidden": 3}
    assert sorted(found.skipped.first) == [".env: hidden", ".git: hidden", "sub/.b.txt: hidden"]
    assert names(resolve(root, ".env", ".git")) == [".env", ".git/config"]
    assert names(resolve(root, ".*")) == [".env"]
    assert names(resolve(root, "**/.b*")) == ["sub/.b.txt"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.txt", ["a.txt", "b.txt"]),
        ("?.txt", ["a.txt", "b.txt"]),
        ("[!a].txt", ["b.txt"]),
        ("**/*.txt", ["a.txt", "b.txt", "d/c.txt", "d/e/f.txt"]),
        ("**", ["a.txt", "b.txt", "d/c.txt", "d/e/f.txt", "d/e/g.md"]),
        ("**/**/**", ["a.txt", "b.txt", "d/c.txt", "d/e/f.txt", "d/e/g.md"]),
        ("d/**", ["c.txt", "e/f.txt", "e/g.md"]),
        ("d/**/*", ["c.txt", "e/f.txt", "e/g.md"]),
        ("**/e/*", ["d/e/f.txt", "d/e/g.md"]),
        ("*/e/**/*.md", ["d/e/g.md"]),
        ("*/*", ["d/c.txt"]),
        ("./d/./*.txt", ["c.txt"]),
        ("d/../*.txt", ["a.txt", "b.txt"]),
        ("{a,b}.txt", ["a.txt", "b.txt"]),
        ("{a,gone}.txt", ["a.txt"]),
        ("{gone,d}/*.txt", ["d/c.txt"]),
        ("{d/**/g,*}.md", ["d/e/g.md"]),
        ("**/*.{md,rst}", ["d/e/g.md"]),
        ("d/{c,e/{f,h}}.txt", ["c.txt", "e/f.txt"]),
        ("{**/f,a}.{txt,md}", ["a.txt", "d/e/f.txt"]),
    ],
)
def test_a_pattern_matches_files(root: Path, pattern: str, expected: list[str]) -> None:
    """`*`, `?`, `[...]` within a name, `**` over any number of directories; directories themselves are not taken."""
    write(root, "a.txt", "b.txt", "d/c.txt", "d/e/f.txt", "d/e/g.md")
    assert names(resolve(root, pattern)) == expected
    assert names(resolve(root, str(root / pattern))) == expected


@pytest.mark.parametrize("pattern", ["/**", "/**/**", "/**/d/**", "/**/d.txt"])
def test_a_pattern_may_begin_at_the_root_of_the_file_system(root: Path, pattern: str) -> None:
    """It lies outside the roots, and where all of the file system is one it means every directory."""
    with pytest.raises(ContextDenied, match="outside the allowed roots"):
        resolve(root, pattern)
    glob = Glob(pattern)
    assert glob.step(glob.start, "any").by_depth


def test_braces_stand_for_a_bounded_number_of_patterns_and_walk_once(root: Path) -> None:
    """A hundred at most, and what they leave out counts once."""
    write(root, "a.txt", "b.md", ".hidden")
    found = resolve(root, "**/{*.txt,*}")
    assert (names(found), found.skipped.counts) == (["a.txt", "b.md"], {"hidden": 1})
    assert len(resolve(root, "{0,1,2,3,4,5,6,7,8,a}{.txt,1,2,3,4,5,6,7,8,9}").files) == 1
    with pytest.raises(InvalidInput, match="more than 100 patterns"):
        resolve(root, "{0,1}" * 7)
    with pytest.raises(InvalidInput, match="more than 100 patterns"):
        resolve_sources(["."], exclude=["{a,b}" * 2_000], roots=Roots.named(root), working_dir=root, max_bytes=100)


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(root: Path) -> None:
    """`data[1].txt` is opened, and does not match data1.txt, if it exists."""
    write(root, "data[1].txt", "data1.txt")
    assert names(resolve(root, "data[1].txt")) == ["data[1].txt"]


def test_links_inside_the_roots_are_followed_to_files(root: Path) -> None:
    """A link to a file is that file under the link's name; a link to a directory is entered only where it is named."""
    write(root, "data/a.txt", "far/b.txt")
    (root / "data/link.txt").symlink_to("../far/b.txt")
    (root / "data/directory").symlink_to("../far")
    found = resolve(root, "data")
    assert names(found) == ["a.txt", "link.txt"]
    assert found.skipped.first == ["directory: a link to a directory; name it itself to load it"]
    assert found.skipped.counts == {"link": 1}
    assert names(resolve(root, "data/directory")) == ["b.txt"]
    assert names(resolve(root, "data/*/*.txt")) == ["directory/b.txt"]
    with pytest.raises(ContextNotFound):
        resolve(root, "data/**/b.txt")


def test_a_link_to_a_file_that_is_loaded_anyway_is_counted(root: Path) -> None:
    """Each file is there once; who looks for another of its names is told why it is no document."""
    write(root, "man/ls.1", "far/b.txt")
    for link, target in (("man/dir.1", "ls.1"), ("man/one.1", "../far/b.txt"), ("man/two.1", "../far/b.txt")):
        (root / link).symlink_to(target)
    found = resolve(root, "man")
    assert names(found) == ["ls.1", "one.1"]
    assert found.skipped.counts == {"link": 2}
    assert found.skipped.first == [
        f"{name}: a link to a file that is loaded under another name" for name in ("dir.1", "two.1")
    ]
    assert resolve(root, "far", "far").skipped.counts == {}


def test_circles_of_links_end(root: Path) -> None:
    """A directory that holds itself is walked once; a link to itself is a circle, said as such."""
    write(root, "d/a.txt")
    (root / "d/self").symlink_to(".")
    (root / "d/up").symlink_to("..")
    (root / "d/one").symlink_to("two")
    (root / "d/two").symlink_to("one")
    found = resolve(root, "d")
    assert names(found) == ["a.txt"]
    assert found.skipped.count == 4
    assert names(resolve(root, "**/*.txt", "d/*/*/*/*/*.txt")) == ["d/a.txt"]
    with pytest.raises(ContextNotFound, match="'d/one' leads to no file: its links form a circle"):
        resolve(root, "d/one")


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("gone.txt", ContextNotFound, "'gone.txt' does not exist"),
        ("gone/gone.txt", ContextNotFound, "'gone/gone.txt' does not exist"),
        ("a.txt/b", ContextNotFound, "'a.txt/b' does not exist: a part of it that should be a directory is a file"),
        ("a.txt/*", ContextNotFound, "'a.txt/\\*' does not exist: a part"),
        ("*.md", ContextNotFound, "The pattern '\\*.md' matches no file"),
        ("gone/*.md", ContextNotFound, "'gone/\\*.md' does not exist"),
        ("empty", ContextNotFound, "The directory 'empty' holds no file to load"),
        ("hidden", ContextNotFound, r"holds no file to load \(1 skipped, such as .x: hidden\)"),
        ("dangling", ContextNotFound, "'dangling' does not exist"),
        ("/etc/passwd", ContextDenied, "'/etc/passwd' is outside the allowed roots"),
        ("/etc/no-such-file", ContextDenied, "'/etc/no-such-file' is outside the allowed roots"),
        ("/etc/*", ContextDenied, "'/etc/\\*' is outside the allowed roots"),
        ("/no-such-directory/*", ContextDenied, "is outside the allowed roots"),
        ("../outside/secret.txt", ContextDenied, "'../outside/secret.txt' is outside"),
        ("..", ContextDenied, "'..' is outside the allowed roots"),
        ("/", ContextDenied, "'/' is outside the allowed roots"),
        ("out", ContextDenied, "'out' is outside the allowed roots"),
        ("out/secret.txt", ContextDenied, "'out/secret.txt' is outside the allowed roots"),
        ("out/*", ContextDenied, "'out/\\*' is outside the allowed roots"),
        ("../allowed-too/a.txt", ContextDenied, "is outside the allowed roots"),
        ("pipe", ContextDenied, "'pipe' is a FIFO; a context is read from regular files"),
        ("socket", ContextDenied, "'socket' is a socket"),
        ("*/../../outside/*", InvalidInput, "'..' after a wildcard"),
        ("", InvalidInput, "an empty path"),
        ("a\0b", InvalidInput, r"'a\\x00b' has a NUL"),
        ("\ud800", InvalidInput, "lone surrogate"),
        ("x" * 300, InvalidInput, "longer than this file system allows"),
        ("x/" * 3_000, InvalidInput, "is 6,000 bytes long; the limit is 4,095 bytes"),
        (7, InvalidInput, "a value of type int"),
        (b"a.txt", InvalidInput, "a value of type bytes"),
    ],
)
def test_a_path_that_cannot_be_read_is_refused_by_the_callers_own_name(
    root: Path, path: str, error: type[RequestRefused], message: str
) -> None:
    """The message names the path as given, and no other place of the host but the user's own settings."""
    write(root, "a.txt", "hidden/.x")
    write(root.parent / "allowed-too", "a.txt")
    (root / "empty").mkdir()
    (root / "out").symlink_to("../outside")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(root)  # a socket's path may be 107 bytes long
        listener.bind("socket")
        os.chdir(here)
    with pytest.raises(error, match=message) as refused:
        resolve(root, path)
    told = refused.value.message.replace(f"the allowed roots, which are '{root}'", "")
    assert str(root) not in told.replace(f"Relative paths begin at '{root}'.", "")


@pytest.mark.parametrize("path", ["gone.txt", "gone/*.txt", "*.md", "*.{md,rst}", "..", "{base}/a", "{base}/*.md"])
def test_where_a_relative_path_begins_is_told_when_it_leads_to_nothing(root: Path, path: str) -> None:
    """Of an absolute path that says nothing."""
    (root / "empty").mkdir()
    with pytest.raises(RequestRefused) as refused:
        resolve(root, path.replace("{base}", str(root / "empty")))
    assert (f"Relative paths begin at '{root}'." in refused.value.message) == (not path.startswith("{base}"))


def test_what_a_folder_holds_besides_readable_files_is_skipped_with_its_reason(root: Path) -> None:
    """Links that lead out, FIFOs and sockets in a directory do not fail it."""
    write(root, "d/a.txt")
    os.mkfifo(root / "d/pipe")
    (root / "d/out.txt").symlink_to("../../outside/secret.txt")
    (root / "d/gone.txt").symlink_to("nowhere")
    found = resolve(root, "d")
    assert names(found) == ["a.txt"]
    assert sorted(found.skipped.first) == [
        "gone.txt: a link that leads to no file (gone)",
        "out.txt: a link that leads outside the allowed roots",
        "pipe: a FIFO",
    ]
    assert found.skipped.counts == {"link": 2, "special": 1}


def test_only_the_first_twenty_skipped_entries_are_kept(root: Path) -> None:
    """A directory of many FIFOs does not fill the host's memory or the reply."""
    write(root, "d/a.txt")
    for number in range(30):
        os.mkfifo(root / f"d/pipe{number}")
    found = resolve(root, "d")
    assert (found.skipped.count, len(found.skipped.first)) == (30, 20)


def test_what_modes_forbid_is_denied_by_name_and_skipped_in_a_folder(open_root: Path) -> None:
    """Without read permission a named file is denied; in a directory it is not known before it is opened."""
    write(open_root, "closed.txt", "locked/a.txt", "ok.txt")
    (open_root / "locked").chmod(0o000)
    (open_root / "closed.txt").chmod(0o000)
    with without_root_rights(open_root):
        found = resolve(open_root, ".")
        with pytest.raises(ContextDenied, match=r"'locked/a\.txt' cannot be read: permission denied"):
            resolve(open_root, "locked/a.txt")
        with pytest.raises(ContextDenied, match="'locked' cannot be read: permission denied"):
            resolve(open_root, "locked")
    assert names(found) == ["closed.txt", "ok.txt"]
    assert found.skipped.first == ["locked: permission denied"]


def test_a_context_above_the_limit_is_refused_before_it_is_read(root: Path) -> None:
    """A sparse file of a petabyte costs nothing to refuse."""
    write(root, "a.txt", "b.txt", data=b"12345678")
    assert len(resolve(root, ".", max_bytes=16).files) == 2
    with pytest.raises(ContextTooLarge, match="16 bytes or more; the limit is 15 bytes"):
        resolve(root, ".", max_bytes=15)
    with (root / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(ContextTooLarge, match="1,099,511,627,776 bytes"):
        resolve(root, "sparse")


def test_the_number_of_documents_and_of_entries_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with more files than one context may have is refused while it is walked."""
    write(root, *(f"d/{number}" for number in range(12)))
    monkeypatch.setattr(sources, "DOCUMENT_LIMIT", 12)
    assert len(resolve(root, "d").files) == 12
    monkeypatch.setattr(sources, "DOCUMENT_LIMIT", 11)
    with pytest.raises(ContextTooLarge, match="more than 11 files"):
        resolve(root, "d")
    with pytest.raises(ContextTooLarge, match="more than 11 files"):
        resolve(root, *(f"d/{number}" for number in range(12)))
    monkeypatch.setattr(listing, "ENTRY_LIMIT", 11)
    with pytest.raises(ContextTooLarge, match="more than 11 directory entries"):
        resolve(root, "d/*[x]")


@pytest.mark.parametrize("paths", [[], ["a"] * 10_001])
def test_no_path_and_too_many_paths_are_invalid(root: Path, paths: list[str]) -> None:
    """One request names 1 to 10,000 paths."""
    with pytest.raises(InvalidInput):
        resolve(root, *paths)


@pytest.mark.slow
def test_a_folder_deeper_than_any_path_can_name_is_skipped_where_it_ends(root: Path) -> None:
    """Directories 3,000 deep neither overflow the stack nor fail the request."""
    write(root, "a.txt")
    here = Path.cwd()
    os.chdir(root)
    try:
        for _ in range(3_000):
            Path("dd").mkdir()
            os.chdir("dd")
    finally:
        os.chdir(here)
    found = resolve(root, ".")
    assert names(found) == ["a.txt"]
    assert found.skipped.count == 1
    assert "file name too long" in found.skipped.first[0]
    subprocess.run(["rm", "-r", root / "dd"], check=True)  # shutil and pytest do not reach the bottom


def test_a_working_directory_reached_by_a_link_names_files_the_same(tmp_path: Path, root: Path) -> None:
    """Names stay short on macOS too, whose /tmp is a link."""
    write(root, "d/a.txt")
    (tmp_path / "link").symlink_to("allowed")
    roots = Roots.of(tmp_path / "link")
    found = resolve_sources(["d/a.txt", "d", "."], roots=roots, working_dir=tmp_path / "link", max_bytes=100)
    roots.close()
    assert names(found) == ["d/a.txt"]
    assert names(resolve(root, "d/*", ".", working_dir=tmp_path / "link")) == ["d/a.txt"]


def test_a_root_that_is_gone_allows_nothing(tmp_path: Path, root: Path) -> None:
    """A root that was removed while the server runs denies, and does not fail."""
    write(root, "a.txt")
    with pytest.raises(ContextDenied):
        resolve_sources([str(root / "a.txt")], roots=Roots.named(tmp_path / "gone"), working_dir=root, max_bytes=100)


def test_a_link_slipped_in_after_the_check_opens_nothing(root: Path) -> None:
    """The descriptor itself is asked where it lies, so a directory swapped for a link to outside is refused."""
    write(root, "d/secret.txt")
    allowed = Roots.named(root).allowed()
    (root / "d").rename(root / "was")
    (root / "d").symlink_to("../outside")
    with pytest.raises(ContextDenied, match="was replaced while it was being opened"):
        open_below(str(root / "d/secret.txt"), "d/secret.txt", allowed)
    (root / "e").symlink_to("../outside/secret.txt")
    with pytest.raises((OSError, ContextDenied)):
        open_below(str(root / "e"), "e", allowed)
    allowed.close()


def test_a_thread_that_swaps_folder_and_link_never_wins(root: Path) -> None:
    """Thousands of opens against a swapping thread, and as many more as it takes to see both ends of it."""
    write(root, "d/secret.txt", data=b"inner!")
    (root / "link").symlink_to("../outside")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (root / "d").rename(root / "kept")
            (root / "link").rename(root / "d")
            (root / "d").rename(root / "link")
            (root / "kept").rename(root / "d")

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[bytes] = set()
    refused, allowed = 0, Roots.named(root).allowed()
    try:
        for tries in range(1_000_000):
            if tries >= 3_000 and seen and refused:
                break
            try:
                descriptor = open_below(str(root / "d/secret.txt"), "d/secret.txt", allowed)
            except (OSError, ContextDenied):
                refused += 1
                continue
            seen.add(os.read(descriptor, 10))
            os.close(descriptor)
    finally:
        stop.set()
        swapper.join()
        allowed.close()
    assert seen == {b"inner!"}
    assert refused > 0


def test_a_tilde_is_the_home_folder_unless_a_file_has_that_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's, whatever this process has; a shell would have expanded it, and an agent writes what it types."""
    monkeypatch.setenv("HOME", "/")
    home = str(root)
    write(root, "logs/a.txt", "logs/b.txt")
    for path in ("~/logs/a.txt", "~/logs/a*", "~/logs/./a.txt"):
        assert names(resolve(root, path, home=home)) == ["a.txt"]
    assert names(resolve(root, "~/logs", home=home)) == ["a.txt", "b.txt"]
    write(root, "~/logs/own.txt")
    assert names(resolve(root, "~/logs", home=home)) == ["own.txt"]
    with pytest.raises(ContextNotFound, match="'~nobody-of-that-name/x' does not exist"):
        resolve(root, "~nobody-of-that-name/x", home=home)


def test_what_lies_outside_is_refused_with_the_roots_that_are_there(root: Path) -> None:
    """The agent cannot know them otherwise, and they are the user's own setting; the first five, and how many more."""
    for path in ("/etc/passwd", "~/etc/passwd", "/etc/*"):
        with pytest.raises(ContextDenied, match=f"which are '{root}'"):
            resolve(root, path, home="/")
    many = [root / f"r{number}" for number in range(7)]
    for directory in many:
        directory.mkdir()
    with pytest.raises(ContextDenied, match=r"r0', .*r4' and 2 more\.$"):
        resolve_sources(["/etc/passwd"], roots=Roots.named(*many), working_dir=root, max_bytes=1)
    with pytest.raises(ContextDenied, match="which are none that exists"):
        resolve_sources(["/etc/passwd"], roots=Roots.named(root / "gone"), working_dir=root, max_bytes=1)


def replacing(monkeypatch: pytest.MonkeyPatch, link: Path, *, times: int) -> None:
    """A link that is replaced by a file in the moment before it is read, and is a link again when it is looked at."""
    look, read = os.lstat, os.readlink
    left = [times]

    def lstat(path: str) -> os.stat_result:
        if str(path) == str(link) and left[0] and not link.is_symlink():
            link.unlink()
            link.symlink_to("target.txt")
        return look(path)

    def readlink(path: str) -> str:
        if str(path) == str(link) and left[0]:
            left[0] -= 1
            link.unlink()
            link.write_bytes(b"text\n")
        return read(path)

    monkeypatch.setattr(os, "lstat", lstat)
    monkeypatch.setattr(os, "readlink", readlink)


@pytest.mark.parametrize("asked", ["link.txt", "l*.txt", "."])
def test_a_link_that_becomes_a_file_while_it_is_read_is_that_file(
    root: Path, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resolved anew: which of the two it is, what is opened decides."""
    write(root, "target.txt")
    (root / "link.txt").symlink_to("target.txt")
    replacing(monkeypatch, root / "link.txt", times=1)
    assert "link.txt" in names(resolve(root, asked))


def test_a_link_that_never_holds_still_is_refused_where_it_is_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In our own words, and no defect of the server."""
    write(root, "target.txt")
    (root / "link.txt").symlink_to("target.txt")
    replacing(monkeypatch, root / "link.txt", times=1_000)
    with pytest.raises(ContextDenied, match="it was replaced while it was being opened"):
        resolve(root, "link.txt")


def test_that_it_never_holds_still_would_be_seen_without_a_guard(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what asks Python alone gets an error of a kind that is nobody's answer, or the link itself."""
    write(root, "target.txt")
    (root / "link.txt").symlink_to("target.txt")
    replacing(monkeypatch, root / "link.txt", times=1)
    if sys.version_info >= (3, 13):
        assert os.path.realpath(root / "link.txt") == str(root / "link.txt")
        return
    with pytest.raises(OSError, match="Invalid argument"):
        os.path.realpath(root / "link.txt")


@pytest.mark.parametrize("asked", ["*.txt", "."])
def test_a_link_that_never_holds_still_is_skipped_where_it_is_found(
    root: Path, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are loaded, and the reply says which was not."""
    write(root, "target.txt")
    (root / "link.txt").symlink_to("target.txt")
    replacing(monkeypatch, root / "link.txt", times=1_000)
    found = resolve(root, asked)
    assert names(found) == ["target.txt"]
    assert "link.txt: a link that leads to no file (it was replaced" in found.skipped.last


def test_a_directory_whose_link_never_holds_still_leads_nowhere_outside(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a path was resolved to, what is opened says where it is: also where a link is taken for no link."""
    write(root.parent / "elsewhere", "secret.txt")
    write(root, "dir/secret.txt")
    found = resolve(root, "dir/secret.txt")
    (root / "dir/secret.txt").unlink()
    (root / "dir").rmdir()
    (root / "dir").symlink_to(root.parent / "elsewhere")
    monkeypatch.setattr(os.path, "realpath", str)  # as if every link were replaced in the moment in which it is read
    for given in (found, resolve(root, "dir/secret.txt")):
        with pytest.raises(ContextDenied, match="replaced while it was being opened"):
            build_payload(given)
    with pytest.raises(ContextDenied, match=r"replaced while it was being opened|outside"):
        resolve(root, "dir/*")


def test_a_chain_of_links_longer_than_python_follows_is_refused_as_one_without_end(root: Path) -> None:
    """The operating system follows 40, and Python from 3.13 on any number."""
    write(root, "l0")
    for number in range(1, 1_500):
        (root / f"l{number}").symlink_to(f"l{number - 1}")
    if sys.version_info >= (3, 13):
        assert [one.real for one in resolve(root, "l1499").files] == [str(root / "l0")]
        return
    with pytest.raises(ContextNotFound, match="circle"):
        resolve(root, "l1499")
    assert "l0" in names(resolve(root, "l?"))


def test_a_file_that_goes_while_its_folder_is_listed_is_skipped_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs are rotated."""
    write(root, "stays.txt", "goes.txt")
    scan = os.scandir

    class Scan:
        """A listing whose reader is slow: one of its files is gone before it is asked about."""

        def __init__(self, descriptor: int) -> None:
            self._found = scan(descriptor)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            entries = list(self._found.__enter__())
            (root / "goes.txt").unlink()
            return iter(entries)

        def __exit__(self, *_: object) -> None:
            self._found.close()

    monkeypatch.setattr(os, "scandir", Scan)
    found = resolve(root, ".")
    assert (names(found), found.skipped.last) == (["stays.txt"], "goes.txt: gone")


def test_a_root_that_cannot_be_looked_at_for_want_of_descriptors_is_not_called_outside(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path lies where it should; the server has no descriptor left."""
    write(root, "a.txt")
    first, second, recorded = Roots.of(root.parent), Roots.of(root), Roots.named(root)

    def at_its_limit(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as limited:
        limited.setattr(os, "open", at_its_limit)
        limited.setattr(os, "dup", at_its_limit)
        with pytest.raises(OSError, match="Too many open files"):
            Roots.of(root)
        for roots in (second.within(first), recorded):
            with pytest.raises(ContextDenied, match="too many open files"):
                resolve_sources(["a.txt"], roots=roots, working_dir=root, max_bytes=100)
    for roots in (second.within(first), recorded):
        assert names(resolve_sources(["a.txt"], roots=roots, working_dir=root, max_bytes=100)) == ["a.txt"]
    first.close()
    second.close()


@pytest.mark.parametrize(
    "given", ["\udc80.txt", "a" * 300, "/".join(["d"] * 2_000), "a.txt/b", "\x7f\u202e.txt", "/proc/self/fd/0/x", "~\0"]
)
def test_whatever_path_is_named_the_answer_is_an_error_of_the_contract(root: Path, given: str) -> None:
    """Undecodable, too long, below a file, unprintable, NUL."""
    write(root, "a.txt")
    with pytest.raises(RequestRefused):
        resolve(root, given)
