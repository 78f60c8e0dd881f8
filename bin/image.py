"""Builds the image of container mode: from a base image of a registry, or from this machine's Debian packages.

Is: what `bin/build-image` runs. Is not: part of the package. The labels say which kernel code and which recipe an image
was made from, so that a second run is instant and the server can refuse an image of another version.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

from bench.progress import told
from rlm_kernel_mcp.kernel.placement.container.arguments import CODE_LABEL, USER, labels_argv
from rlm_kernel_mcp.kernel_code import kernel_code, kernel_side
from rlm_kernel_mcp.variables.table import TABLE

ROOT: Final = Path(__file__).resolve().parent.parent
RECIPE_LABEL: Final = "rlm-kernel-mcp.recipe"
RECIPE: Final = (
    "bin/image.py",
    "containers/Containerfile",
    "constraints.txt",
    "constraints-data.txt",
    "pyproject.toml",
)
CACHE: Final = ".image"
DATA: Final = "-data"
"""Behind the name of the other directory, where the extra [data] is installed too: neither takes the other's place."""
STAMP_NAME: Final = ".complete"

KERNEL_DEPENDENCIES: Final = ("ahocorasick_rs", "cloudpickle", "google-re2", "ipykernel", "jsonschema")
DEBIAN_PACKAGES: Final = ("python3", "libstdc++6", "tzdata")
NOT_NEEDED: Final = ("dpkg", "tar", "debconf", "perl-base", "readline-common")
"""Dependencies in Debian that a read-only image has no use for, since nothing is ever installed in it."""
NEVER_COMPILED: Final = r"/tests/"
"""Libraries bring their tests, which nobody imports: a third of pandas' files."""
NOT_NEEDED_BELOW: Final = ("usr/share/doc", "usr/share/man", "usr/share/lintian", "usr/share/locale", "usr/share/perl5")


def main(arguments: Sequence[str]) -> None:
    """Entry of `bin/build-image`."""
    defaults = {row.variable: row.default for row in TABLE}
    parser = argparse.ArgumentParser(
        prog="bin/build-image", description="Build the image in which kernels run in container mode."
    )
    parser.add_argument(
        "--runtime", choices=("docker", "podman"), default=os.environ.get("RLM_SANDBOX_CONTAINER_RUNTIME") or "docker"
    )
    parser.add_argument("--image", default=defaults["RLM_SANDBOX_CONTAINER_IMAGE"], help="name of the image")
    parser.add_argument("--base", help="base image (default: the Containerfile's)")
    parser.add_argument(
        "--local",
        action="store_true",
        help="use no image registry: make the file system from Debian packages (needs apt-get and dpkg-deb) and PyPI",
    )
    parser.add_argument(
        "--with",
        dest="extra",
        nargs="+",
        default=[],
        metavar="PACKAGE",
        help="packages for the steps' own imports (name them in RLM_IMPORTS too)",
    )
    parser.add_argument(
        "--data",
        action="store_true",
        help="with what the kernelspec rlm-python-data needs: numpy, pandas, pyarrow and matplotlib (400 MB; give the "
        "image a name of its own)",
    )
    options = parser.parse_args(arguments)
    extra = [*(data_requirements() if options.data else ()), *options.extra]
    program = shutil.which(options.runtime) or fail(f"there is no {options.runtime!r} on the PATH")
    with locked(ROOT / "containers"):
        labels = {CODE_LABEL: kernel_code(), RECIPE_LABEL: recipe(options.local, options.base, extra)}
        if labels.items() <= labels_of(program, options.image).items():
            say(f"{options.image} is current")
        elif options.local:
            build_from_packages(program, options.image, extra, labels, of_data=options.data)
        else:
            build_from_base(program, options.image, options.base, extra, labels)
    say(f"use it: RLM_SANDBOX_MODE=container RLM_SANDBOX_CONTAINER_RUNTIME={options.runtime}")


def recipe(local: bool, base: str | None, extra: Sequence[str]) -> str:
    """Hash of what determines an image, except the kernel code."""
    digest = hashlib.sha256(f"{local}\0{base}\0{sorted(extra)}\0".encode())
    for name in RECIPE:
        digest.update((ROOT / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def labels_of(program: str, image: str) -> dict[str, str]:
    """The labels of an image; empty if there is no such image."""
    found = subprocess.run(labels_argv(program, image), capture_output=True, text=True, check=False)
    labels: dict[str, str] | None = json.loads(found.stdout) if found.returncode == 0 else None
    return labels or {}


def build_from_base(program: str, image: str, base: str | None, extra: Sequence[str], labels: dict[str, str]) -> None:
    """Build `containers/Containerfile` on a base image."""
    with tempfile.TemporaryDirectory(prefix="rlm-image-") as directory:
        context = Path(directory)
        copy_kernel_side(context)
        (context / "constraints.txt").write_text("\n".join(map(Path.read_text, constraints())), encoding="utf-8")
        (context / "requirements.txt").write_text("\n".join([*requirements(), *extra]) + "\n", encoding="utf-8")
        argv = [program, "build", "--file", str(ROOT / "containers" / "Containerfile"), "--tag", image]
        argv += [f"--build-arg=BASE={base}"] if base else []
        argv += [f"--label={name}={value}" for name, value in labels.items()]
        say(f"building {image} on {base or 'the base image that containers/Containerfile names'}")
        run([*argv, str(context)], "without a registry: bin/build-image --local")
    say(f"{image} is built")


def build_from_packages(
    program: str, image: str, extra: Sequence[str], labels: dict[str, str], *, of_data: bool
) -> None:
    """Assemble a root file system from Debian packages and PyPI, and import it as an image."""
    directory, plain = ROOT / f"{CACHE}{DATA if of_data else ''}", ROOT / CACHE / "root"
    root, stamp = directory / "root", labels[RECIPE_LABEL]
    if not is_complete(root, stamp):
        shutil.rmtree(directory, ignore_errors=True)
        if root != plain and is_complete(plain, recipe(True, None, [])):
            say("beginning with the image that is there without them")
            shutil.copytree(plain, root, symlinks=True)
        else:
            unpack_debian(directory, root)
            install_packages(root, requirements())
        if extra:
            install_packages(root, extra)
        (directory / STAMP_NAME).write_text(stamp, encoding="utf-8")
    copy_kernel_side(packages_of(root))
    compile_bytecode(root)
    changes = [f"LABEL {name}={value}" for name, value in labels.items()]
    changes += [f"USER {USER}", 'CMD ["python3"]']
    say(f"importing {image}")
    argv = [program, "import", *(f"--change={change}" for change in changes), "-", image]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child:
        assert child.stdin is not None
        write_archive(root, child.stdin.fileno())
        child.stdin.close()
        if child.wait():
            fail(f"`{' '.join(argv)}` ended with status {child.returncode}")
    say(f"{image} is built")


def is_complete(root: Path, stamp: str) -> bool:
    """Whether the root file system was made by exactly this recipe."""
    try:
        return (root.parent / STAMP_NAME).read_text(encoding="utf-8") == stamp
    except OSError:
        return False


def unpack_debian(directory: Path, root: Path) -> None:
    """Python and the libraries it needs, unpacked but not installed: no maintainer scripts, and no shell."""
    for tool in ("apt-get", "dpkg-deb", "tar"):
        if shutil.which(tool) is None:
            fail(f"--local needs {tool}, which Debian and Ubuntu have; elsewhere build from a base image")
    say("fetching Debian packages")
    archives = directory / "debs"
    (archives / "partial").mkdir(parents=True)
    # With an empty status file nothing counts as installed, so apt lists everything that is needed. With no lock and no
    # user to switch to, an ordinary user can build.
    apt = ["apt-get", "-qq", "-o", "Dir::State::status=/dev/null", "-o", f"Dir::Cache::archives={archives}"]
    apt += ["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]
    fetch = ["install", "--yes", "--no-install-recommends", "--download-only", *DEBIAN_PACKAGES]
    if subprocess.run([*apt, *fetch], check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno()).returncode:
        say("fetching the lists of Debian packages")
        (directory / "lists" / "partial").mkdir(parents=True)
        apt += ["-o", f"Dir::State::lists={directory / 'lists'}"]
        run([*apt, "update"], "is a Debian mirror to be reached?")
        run([*apt, *fetch], "do the lists hold Python 3.11 or later?")
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    fetched = sorted(archives.glob("*.deb"))
    for archive in told(fetched, len(fetched), "packages"):
        if archive.name.partition("_")[0] not in NOT_NEEDED:
            unpack(archive, root)
    for name in NOT_NEEDED_BELOW:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("tmp", "proc", "sys", "dev", "run"):
        (root / name).mkdir(exist_ok=True)
    shutil.rmtree(archives)
    shutil.rmtree(directory / "lists", ignore_errors=True)


def unpack(archive: Path, root: Path) -> None:
    """The files of one package, through the links of the merged /usr."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as package:
        extract = ["tar", "--extract", "--keep-directory-symlink", "--no-same-owner", "--directory", str(root)]
        status = subprocess.run(extract, stdin=package.stdout, check=False).returncode
    if status or package.returncode:
        fail(f"{archive.name} cannot be unpacked")


def install_packages(root: Path, packages: Sequence[str]) -> None:
    """Run this environment's pip with the new root's Python, so that it picks what that Python needs."""
    found = importlib.util.find_spec("pip")
    if found is None or not found.submodule_search_locations:
        fail("there is no pip in .venv; `rm -r .venv` and run bin/setup")
    say("installing " + ", ".join(packages))
    pip = [found.submodule_search_locations[0], "--isolated", "--disable-pip-version-check", "install", "-qq"]
    pip += ["--no-compile", "--only-binary=:all:", "--root-user-action=ignore", "--target", str(packages_of(root))]
    pip += [*(f"--constraint={path}" for path in constraints()), *packages]
    run_inside(root, pip, "is a package index to be reached?")


def compile_bytecode(root: Path) -> None:
    """Compile all of it now: the image is read-only when a kernel runs, so the rest would be compiled at each start."""
    say("compiling bytecode")
    directories = [str(packages_of(root)), *(str(path) for path in root.glob("usr/lib/python3*"))]
    argv = ["-m", "compileall", "-q", "-j", "0", "-s", str(root), "-p", "/", "--invalidation-mode", "unchecked-hash"]
    argv += ["-x", NEVER_COMPILED]
    run_inside(root, [*argv, *directories], "is this machine of the packages' architecture?")


def packages_of(root: Path) -> Path:
    """Where Debian's Python looks for packages that Debian has not installed."""
    (library,) = root.glob("usr/lib/python3.*[0-9]")
    directory = root / "usr" / "local" / "lib" / library.name / "dist-packages"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def run_inside(root: Path, arguments: list[str], hint: str) -> None:
    """Run the new root's Python where it lies, by its own loader and libraries: no root rights, no container."""
    loader = next(iter([*root.glob("usr/lib64/ld-linux-*"), *root.glob("usr/lib/ld-linux-*")]), None)
    python = next((root / "usr" / "bin").glob("python3.*[0-9]"), None)
    if loader is None or python is None:
        fail(f"the Debian packages brought no Python into {root}")
    libraries = [str(path.parent) for path in root.glob("usr/lib/*/libc.so.6")]
    environment = {**os.environ, "PYTHONHOME": str(root / "usr"), "PYTHONNOUSERSITE": "1"}
    argv = [str(loader), "--library-path", ":".join(libraries), str(python), "-s", *arguments]
    run(argv, hint, environment)


def copy_kernel_side(directory: Path) -> None:
    """The kernel's side of the package, fresh."""
    package = ROOT / "rlm_kernel_mcp"
    shutil.rmtree(directory / package.name, ignore_errors=True)
    for path in kernel_side(package):
        target = directory / package.name / path.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def write_archive(root: Path, descriptor: int) -> None:
    """The root file system as a tar stream, everything root's and readable by all."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mode = (member.mode & 0o755) | (0o555 if member.isdir() or member.mode & 0o100 else 0o444)
        if member.name == "./tmp":
            member.mode = 0o1777  # an engine gives its tmpfs the mode of what it covers
        return member

    with (
        os.fdopen(os.dup(descriptor), "wb") as stream,
        tarfile.open(fileobj=stream, mode="w|", bufsize=1 << 20) as archive,
    ):
        archive.add(root, arcname=".", filter=plain)


def requirements() -> list[str]:
    """The dependencies that run inside a kernel, as the project declares them."""
    return [text for text in project()["dependencies"] if text.startswith(KERNEL_DEPENDENCIES)]


def data_requirements() -> list[str]:
    """The same of the kernelspec rlm-python-data."""
    found: list[str] = project()["optional-dependencies"]["data"]
    return found


def project() -> dict[str, Any]:
    """What the project declares."""
    declared: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return declared


def constraints() -> tuple[Path, Path]:
    """The versions of all that may be installed."""
    return ROOT / "constraints.txt", ROOT / "constraints-data.txt"


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One build at a time; the system lifts the lock when we die."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def run(argv: list[str], hint: str, environment: dict[str, str] | None = None) -> None:
    """Run one command of the build; its failure ends the build."""
    status = subprocess.run(
        argv, check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), env=environment
    ).returncode
    if status:
        fail(f"`{' '.join(argv)}` ended with status {status} ({hint})")


def say(text: str) -> None:
    """One line on stderr."""
    print(f"bin/build-image: {text}", file=sys.stderr, flush=True)


def fail(text: str) -> NoReturn:
    """End with status 2: the machine lacks something."""
    say(text)
    raise SystemExit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
