"""Files become one descriptor that holds their bytes, with a hash and encodings that are true of just these bytes."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import lzma
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlm_kernel_mcp.context.documents import Document
from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.hints import hints
from rlm_kernel_mcp.context.inline import inline_payload
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.roots.opening import open_below
from rlm_kernel_mcp.context.sources import Sources, resolve_sources
from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, ContextTooLarge, RequestRefused


def resolve(root: Path, *paths: str, max_bytes: int = 100_000_000) -> Sources:
    return resolve_sources(paths, roots=Roots.named(root), working_dir=root, max_bytes=max_bytes)


def held_bytes(payload: Payload) -> bytes:
    assert payload.descriptor is not None
    return os.pread(payload.descriptor, payload.byte_count + 1_000, 0)


def open_descriptors() -> set[Path]:
    return set(Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd").iterdir())


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    """Every test here gives back what it opened, also when it was refused."""
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@contextmanager
def unprivileged_directory() -> Iterator[Path]:
    """A directory of a user whom modes bind; the block runs as this user."""
    directory = Path(tempfile.mkdtemp(prefix="rlm-test-"))
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(directory, 65534, 65534)
        os.setegid(65534)
        os.seteuid(65534)
    try:
        yield directory
    finally:
        if is_root:
            os.seteuid(0)
            os.setegid(0)
        shutil.rmtree(directory)


def test_one_file_is_handed_on_as_it_is(tmp_path: Path) -> None:
    """The kernel gets the file itself, to read only, from its beginning; nothing is copied."""
    data = "Zeile\r\nß\x1a\n".encode()
    (tmp_path / "a.txt").write_bytes(data)
    with build_payload(resolve(tmp_path, "a.txt")) as payload:
        assert payload.descriptor is not None
        assert payload.kind == "documents"
        assert payload.documents == (Document("a.txt", len(data), "utf-8"),)
        assert (payload.byte_count, payload.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert os.fstat(payload.descriptor).st_ino == (tmp_path / "a.txt").stat().st_ino
        assert os.lseek(payload.descriptor, 0, os.SEEK_CUR) == 0
        assert fcntl.fcntl(payload.descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        assert held_bytes(payload) == data


def test_several_files_stand_one_after_the_other_in_a_file_without_a_name(tmp_path: Path) -> None:
    """Raw bytes, nothing between them, each with its own encoding; the kernel cannot write to them."""
    contents = {
        "a.txt": b"no line feed",
        "b.txt": "\ufeffmit Marke\n".encode(),
        "c.txt": "zwei\r\n".encode("utf-16"),
        "d.txt": b"",
        "e.txt": b"caf\xe9\n",
        "f.txt": b"x" * 3_000_000,
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    with build_payload(resolve(tmp_path, ".")) as payload:
        whole = b"".join(contents.values())
        assert payload.descriptor is not None
        assert payload.documents == (
            Document("a.txt", 12, "utf-8"),
            Document("b.txt", 13, "utf-8-sig"),
            Document("c.txt", 14, "utf-16"),
            Document("d.txt", 0, "utf-8"),
            Document("e.txt", 5, "latin-1"),
            Document("f.txt", 3_000_000, "utf-8"),
        )
        assert payload.encodings == {"utf-8": 3, "utf-8-sig": 1, "utf-16": 1, "latin-1": 1}
        assert (payload.byte_count, payload.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
        assert held_bytes(payload) == whole
        assert os.fstat(payload.descriptor).st_nlink == 0
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(payload.descriptor, b"x")


def test_binary_files_of_a_folder_are_skipped_without_a_trace_in_the_bytes(tmp_path: Path) -> None:
    """Also where a file is known as binary only at its end, its bytes are neither in the copy nor in the hash."""
    late = b"\xff\xfe" + b"a\x00" * 1_500_000 + b"\x00\xd8" * 150_000  # looks like UTF-16 up to its last tenth
    for name, data in {"a.txt": b"A", "b.bin": b"\x7fELF\x00", "c.bin": late, "d.txt": b"D"}.items():
        (tmp_path / name).write_bytes(data)
    with build_payload(resolve(tmp_path, ".")) as payload:
        assert [document.name for document in payload.documents] == ["a.txt", "d.txt"]
        assert payload.sha256 == hashlib.sha256(b"AD").hexdigest()
        assert held_bytes(payload) == b"AD"
        assert payload.skipped.first == ["b.bin: binary; it looks like a program", "c.bin: binary"]


def test_a_binary_file_is_loaded_where_it_is_named_and_left_out_where_it_is_found(tmp_path: Path) -> None:
    """Alone, among others, with a NUL anywhere; a pattern finds it, whatever the pattern says."""
    (tmp_path / "a.txt").write_text("a")
    contents = {"b.bin": b"a\0b\n", "c.bin": b"\0\xff\xfe\x80" * 30_000, "d.bin": b"\xff\xfe\0", "e.bin": b"\0"}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
        with build_payload(resolve(tmp_path, name)) as alone, build_payload(resolve(tmp_path, "a.txt", name)) as both:
            assert held_bytes(alone) == data
            assert held_bytes(both) == b"a" + data
            (one,) = alone.documents
            assert data.decode(one.encoding, one.errors).encode(one.encoding, one.errors) == data
    with pytest.raises(ContextNotFound, match=r"skipped: 4, such as e\.bin: binary"):
        build_payload(resolve(tmp_path, "*.bin"))


@pytest.mark.parametrize(
    ("data", "word", "hint"),
    [
        (gzip.compress(bytes(range(256)) * 9), "gzip data without a name in .gz", "give a copy with that name, and it"),
        (lzma.compress(b"a" * 99, lzma.FORMAT_ALONE), "lzma data", "unpack it (unlzma)"),
        ("one\r\ntwo".encode("utf-16-le"), "UTF-16 (little-endian) without a", ".decode('utf-16-le') is the text"),
        ("one\r\ntwo".encode("utf-16-be"), "UTF-16 (big-endian) without a", ".decode('utf-16-be') is the text"),
        (b"%PDF-1.7\n\0\0", "a PDF", "pdftotext"),
        (b"a\0b", "", "x has NUL characters, and may not be text."),
    ],
)
def test_a_binary_file_is_reported_with_what_it_looks_like(tmp_path: Path, data: bytes, word: str, hint: str) -> None:
    """Where it is left out in a few words, where it was named itself with what helps."""
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "x").write_bytes(data)
    with build_payload(resolve(tmp_path, ".")) as payload:
        looks = f"; it looks like {word}" if word else ""
        assert payload.skipped.first[0].startswith(f"x: binary{looks}")
        assert hints(payload.documents) == []
    with build_payload(resolve(tmp_path, "x")) as payload:
        (told,) = hints(payload.documents)
        assert told.startswith("x ")
        assert hint in told


def test_what_helps_against_utf_16_without_a_mark_gives_the_text(tmp_path: Path) -> None:
    """The expression in the hint, as it stands."""
    text = "nine lives\n" * 40 + "Größe"
    (tmp_path / "x").write_bytes(text.encode("utf-16-le"))
    with build_payload(resolve(tmp_path, "x")) as payload:
        (one,) = payload.documents
        documents = {"x": held_bytes(payload).decode(one.encoding, one.errors)}
        expression = hints(payload.documents)[0].partition("; ")[2].removesuffix(" is the text.")
        assert eval(expression, {"documents": documents}) == text


def test_latin_1_with_bytes_that_it_has_not_may_be_another_code_page(tmp_path: Path) -> None:
    """True latin-1 has no hint; of many such files the first five have one each."""
    for number in range(7):
        (tmp_path / f"{number}").write_bytes("\u201cGröße\u201d".encode("cp1252"))
    (tmp_path / "true").write_bytes("Größe".encode("latin-1"))
    with build_payload(resolve(tmp_path, ".")) as payload:
        assert payload.encodings == {"latin-1": 8}
        told = hints(payload.documents)
    assert len(told) == 6
    assert "documents['0'].encode('latin-1').decode('cp1252')" in told[0]
    assert told[-1] == "The same holds for 2 more documents, or the like."


def test_a_file_that_went_after_it_was_found_is_refused_or_skipped(tmp_path: Path) -> None:
    """By its own name it is missing; of a directory the others are loaded."""
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text(name)
    directory, alone = resolve(tmp_path, "."), resolve(tmp_path, "b.txt")
    (tmp_path / "b.txt").unlink()
    (tmp_path / "c.txt").unlink()
    os.mkfifo(tmp_path / "c.txt")
    with pytest.raises(ContextNotFound, match=r"'b\.txt' does not exist"):
        build_payload(alone)
    with build_payload(directory) as payload:
        assert held_bytes(payload) == b"a.txt"
        assert payload.skipped.first == ["b.txt: gone", "c.txt: replaced meanwhile"]


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, socket_at, lambda path: path.symlink_to("/etc/hostname")])
def test_what_takes_a_files_place_after_it_was_found_is_left_out(
    tmp_path: Path, put: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is asked what it is once it is open, and is not waited for."""
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text(name)
    found = resolve(tmp_path, ".")
    (tmp_path / "b.txt").unlink()
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    put(Path("b.txt"))
    with build_payload(found) as payload:
        assert held_bytes(payload) == b"a.txtc.txt"
        assert payload.skipped.first == ["b.txt: replaced meanwhile"]


@pytest.mark.slow
def test_what_is_taken_back_between_many_small_files_is_not_among_their_bytes(tmp_path: Path) -> None:
    """They are written many at a time, and the binary ones between them go with what they had left."""
    late = b"\xff\xfe" + b"a\x00" * 1_500_000 + b"\x00\xd8" * 150_000
    kept = {f"{number:04}.txt": b"%d\n" % number * (number % 300) for number in range(2_000)}
    for name, data in kept.items():
        (tmp_path / name).write_bytes(data)
    for name in ("0007.bin", "1000.bin", "1999.bin"):
        (tmp_path / name).write_bytes(late)
    with build_payload(resolve(tmp_path, ".")) as payload:
        whole = b"".join(kept.values())
        assert [(one.name, one.byte_count) for one in payload.documents] == [
            (name, len(data)) for name, data in kept.items()
        ]
        assert held_bytes(payload)[: payload.byte_count] == whole
        assert payload.sha256 == hashlib.sha256(whole).hexdigest()
        assert payload.skipped.counts == {"binary": 3}


def test_a_file_swapped_for_a_link_to_outside_is_never_read(tmp_path: Path) -> None:
    """Between finding and reading, neither the file nor its directory can be led out of the root."""
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d/secret.txt").write_text("inner")
    (tmp_path / "secret.txt").write_text("secret")
    found = resolve(root, "d/secret.txt")
    (root / "d/secret.txt").unlink()
    (root / "d/secret.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises((ContextDenied, ContextNotFound)):
        build_payload(found)
    (root / "d/secret.txt").unlink()
    (root / "d").rmdir()
    (root / "d").symlink_to(tmp_path)
    with pytest.raises(ContextDenied, match=r"'d/secret\.txt' was replaced"):
        build_payload(found)


def test_what_modes_forbid_is_denied_by_name_and_skipped_in_a_folder() -> None:
    """Permission is asked when the file is opened."""
    with unprivileged_directory() as directory:
        (directory / "a.txt").write_text("a")
        (directory / "closed.txt").write_text("b")
        (directory / "closed.txt").chmod(0o000)
        with pytest.raises(ContextDenied, match=r"'closed\.txt' cannot be read: permission denied"):
            build_payload(resolve(directory, "closed.txt"))
        with build_payload(resolve(directory, ".")) as payload:
            assert held_bytes(payload) == b"a"
            assert payload.skipped.first == ["closed.txt: permission denied"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_pseudo_files_are_refused(tmp_path: Path) -> None:
    """By name, by directory, by pattern and through a link: /proc has the server's own environment in it."""
    proc = Path("/proc/self").resolve()
    for path in ("status", "environ", ".", "*", "task", "../self/status"):
        with pytest.raises(ContextDenied, match=r"a pseudo-file of the operating system \(/proc, /sys"):
            build_payload(resolve_sources([path], roots=Roots.named("/proc"), working_dir=proc, max_bytes=10_000_000))
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "link").symlink_to(proc / "environ")
    wide = resolve_sources([str(tmp_path)], roots=Roots.named("/"), working_dir=tmp_path, max_bytes=10_000_000)
    assert [source.name for source in wide.files] == ["a.txt"]
    assert wide.skipped.first == ["link: a pseudo-file of the operating system"]
    with pytest.raises(ContextDenied, match="pseudo-file"), Roots.named("/").allowed() as allowed:
        open_below(str(proc / "environ"), "environ", allowed)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_pattern_over_the_whole_file_system_enters_no_pseudo_file_system() -> None:
    """With `/` allowed, `/*/self/status` finds nothing."""
    with pytest.raises(ContextNotFound, match=r"matches no file \(1 skipped, such as proc: a pseudo-file"):
        resolve_sources(["/p[r]oc/self/status"], roots=Roots.named("/"), working_dir=Path("/"), max_bytes=10_000_000)


def test_a_file_that_is_written_to_is_noticed(tmp_path: Path) -> None:
    """`has_changed` tells the session that what the kernel read may not be what was hashed; a copy holds still."""
    path = tmp_path / "log.txt"
    path.write_bytes(b"one\n")
    with build_payload(resolve(tmp_path, "log.txt")) as shared:
        assert not shared.has_changed()
        with path.open("ab") as log:
            log.write(b"two\n")
        assert shared.has_changed()
    with build_payload(resolve(tmp_path, "log.txt"), copy=True) as copied:
        path.write_bytes(b"three")
        assert not copied.has_changed()
        assert held_bytes(copied) == b"one\ntwo\n"


def test_a_file_that_grows_while_it_is_read_gives_bytes_and_hash_that_agree(tmp_path: Path) -> None:
    """Whatever moment is caught: shared and unchanged, or copied, the hash is of the bytes handed on."""
    path = tmp_path / "log.txt"
    path.write_bytes(b"line\n" * 200_000)
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as log:
            while not stop.is_set() and log.tell() < 20_000_000:
                log.write(b"more\n" * 1_000)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(20):
            with build_payload(resolve(tmp_path, "log.txt")) as payload:
                data = held_bytes(payload)[: payload.byte_count]
                if not payload.has_changed():
                    assert hashlib.sha256(data).hexdigest() == payload.sha256
    finally:
        stop.set()
        writer.join()


def test_a_context_that_grew_above_the_limit_is_refused(tmp_path: Path) -> None:
    """The limit holds for the bytes that are read, not only for the sizes that were listed."""
    (tmp_path / "a.txt").write_bytes(b"1234")
    found = resolve(tmp_path, "a.txt", max_bytes=5)
    (tmp_path / "a.txt").write_bytes(b"123456")
    with pytest.raises(ContextTooLarge, match="6 bytes or more; the limit is 5 bytes"):
        build_payload(found)


@pytest.mark.parametrize("missing", ["/dev/full-of-nothing", "/proc"])
def test_a_temporary_folder_that_cannot_take_the_copy_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """The user is told what to free or to set, instead of an internal error."""
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setattr(tempfile, "tempdir", missing)
    with pytest.raises(ContextTooLarge, match="temporary directory") as refused:
        build_payload(resolve(tmp_path, "a.txt"), copy=True)
    assert "TMPDIR" in refused.value.next_step


def test_a_copy_that_finds_no_more_room_is_said(tmp_path: Path) -> None:
    """A full disk, here a file size limit, is an error of the contract and leaves nothing behind."""
    program = f"""
import resource, tempfile
from pathlib import Path
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import resolve_sources
from rlm_kernel_mcp.errors import ContextTooLarge
root = Path({str(tmp_path)!r})
tempfile.tempdir = str(root)
for name in "ab":
    (root / name).write_bytes(b"x" * 2_000_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
try:
    build_payload(resolve_sources(["."], roots=Roots.named(root), working_dir=root, max_bytes=10**9))
except ContextTooLarge as error:
    print(error.message, sorted(path.name for path in root.iterdir()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "The files cannot be copied into the temporary directory: file too large. ['a', 'b']\n"


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
@pytest.mark.parametrize("paths", [["big.txt"], ["big.txt", "small.txt"]])
def test_the_hosts_memory_does_not_grow_with_the_context(tmp_path: Path, paths: list[str]) -> None:
    """Reading 64 MB, shared or copied, raises the peak by some blocks of 1 MB."""
    with (tmp_path / "big.txt").open("wb") as big:
        for _ in range(64):
            big.write("é".encode() * (1 << 19))
    (tmp_path / "small.txt").write_text("x")
    program = f"""
import re
from pathlib import Path
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import resolve_sources
def peak_kb(): return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
def load(paths):
    root = Path({str(tmp_path)!r})
    return build_payload(resolve_sources(paths, roots=Roots.named(root), working_dir=root, max_bytes=10**9)).byte_count
load(["small.txt"])
before = peak_kb()
load({paths!r})
print(peak_kb() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 12_000


@pytest.mark.parametrize("text", ["", "a", "Zeile\r\n\x00\ufeff😀", "\ud800 \udfff lone"])
def test_an_inline_text_is_kept_as_it_is(text: str) -> None:
    """NUL, marks, carriage returns and lone surrogates come back out of the bytes."""
    payload = inline_payload(text, "context", Room(1 << 20))
    assert payload.data is not None
    assert payload.data.decode(payload.documents[0].encoding, "surrogatepass") == text
    assert payload.documents == (Document("context", len(payload.data), "utf-8", errors="surrogatepass"),)
    assert (payload.kind, payload.descriptor, payload.byte_count) == ("text", None, len(payload.data))
    assert payload.sha256 == hashlib.sha256(payload.data).hexdigest()
    assert not payload.has_changed()
    payload.close()


def test_every_refusal_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy has no name from its first moment on."""
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.bin").write_bytes(b"\x00")
    (tmp_path / "c.zip").write_bytes(b"")
    with pytest.raises(RequestRefused):
        build_payload(resolve(tmp_path, "a.txt", "c.zip"))
    with build_payload(resolve(tmp_path, "*.*")) as payload:
        assert held_bytes(payload) == b"a"
        assert list(room.iterdir()) == []


def test_what_a_kernel_does_with_the_descriptor_of_a_file_changes_nothing_for_the_host(tmp_path: Path) -> None:
    """Its place and its flags are its own; one that can be opened no more is passed all the same."""
    (tmp_path / "a.txt").write_text("some text")
    with build_payload(resolve(tmp_path, "a.txt")) as payload:
        assert payload.descriptor is not None
        given = payload.passed()
        os.lseek(given, 5, os.SEEK_SET)
        fcntl.fcntl(given, fcntl.F_SETFL, os.O_APPEND)
        assert os.lseek(payload.descriptor, 0, os.SEEK_CUR) == 0
        assert not fcntl.fcntl(payload.descriptor, fcntl.F_GETFL) & os.O_APPEND
        assert fcntl.fcntl(given, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        os.close(given)
