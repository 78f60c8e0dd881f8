"""Makes a checkout runnable: a virtual environment with the package, its bytecode and, on request, further groups.

Is: what `bin/setup` runs, with the standard library alone. Is not: part of the package.
A stamp (a hash of everything the result depends on) makes a second run instant; a lock that dies with its
holder makes two runs at once as good as one after the other.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

ROOT: Final = Path(__file__).resolve().parent.parent
INPUTS: Final = (
    "pyproject.toml",
    "constraints*.txt",
    "bin/checkout.py",
    "rlm_kernel_mcp/__init__.py",
    "kernelspecs/*/*",
)
CODEX_VERSION: Final = "0.169.0"
CLAUDE_VERSION: Final = "2.1.332"
AXE_VERSION: Final = "4.14.1"
BIOME_VERSION: Final = "2.6.8"
STAMP_NAME: Final = ".setup-stamp"


class Environment(NamedTuple):
    """One virtual environment of a checkout."""

    directory: str
    extras: str
    """Extras of the package, as in `pyproject.toml`."""
    constraints: tuple[str, ...] = ("constraints.txt",)
    beside: str = ""
    """Extras that were installed into the same directory earlier, and stay."""

    def stamp_name(self) -> str:
        """Name of the file that says what the environment is complete for."""
        return f"{STAMP_NAME}-{self.extras}" if self.beside else STAMP_NAME


CORE: Final = Environment(".venv", "test")
STARTS: Final = (
    "import rlm_kernel_mcp.cli, rlm_kernel_mcp.server.app, rlm_kernel_mcp.session.registry, mcp.client.stdio",
    "import rlm_kernel_mcp.__main__, rlm_kernel_mcp.host.main, rlm_kernel_mcp.host.serving",
    "import rapidfuzz.distance, rapidfuzz.fuzz",
    "import rlm_kernel_mcp.commands.doctoring.doctor, rlm_kernel_mcp.commands.sessions, rlm_kernel_mcp.commands.trace",
    (
        "import rlm_kernel_mcp.commands.attached.console, anyio._backends._asyncio, "
        "anyio._core._signals, anyio._core._subprocesses"
    ),
    "import json, sys; from rlm_kernel_mcp.in_kernel.preload import preload; preload(json.load(open(sys.argv[1])))",
    "import jsonschema, referencing",
    "import ray.cluster_utils, ray.util.scheduling_strategies, ray.experimental.internal_kv",
)
"""What the server, the demo, the commands and a kernel import as they begin. Nothing of ours reads the bytecode of the
rest (jedi, debugpy, the lexers of Pygments, pip), which would take 35 MB. pytest and hypothesis write their own."""
GROUPS: Final = {
    "check": Environment(".venv", "dev", beside=CORE.extras),
    "openai": Environment(".venv", "openai", beside=CORE.extras),
    "otel": Environment(".venv", "otel", ("constraints.txt", "constraints-otel.txt"), beside=CORE.extras),
    "ray": Environment(".venv", "ray", ("constraints.txt", "constraints-ray.txt"), beside=CORE.extras),
    "lab": Environment(".venv-lab", "clients,console", ("constraints.txt", "constraints-lab.txt")),
    "data": Environment(".venv-data", "data,console", ("constraints.txt", "constraints-data.txt")),
}
"""What `--with` offers besides what comes from npm. One that pins our own dependencies has a directory of its own."""
DESCRIPTIONS: Final = {
    "check": "ruff and mypy, for bin/check",
    "codex": "the Codex binary, for tests/codex (needs npm)",
    "claude": "the program claude, for the tests of the backend of that name (needs npm)",
    "axe": "axe-core and Biome, for the tests and the check of the live page (needs npm)",
    "openai": "the client of the backend openai, for tests/endpoints and for questions to an endpoint",
    "otel": "OpenTelemetry's SDK and exporter, for tests/telemetry and for spans to a collector",
    "ray": "Ray and fsspec, for sessions on many machines and their tests (215 MB, a minute)",
    "lab": "JupyterLab, nbclient, nbconvert, papermill, jupyter_kernel_test, pandas, for tests/lab and tests/clients",
    "data": "numpy, pandas, pyarrow, matplotlib, for the kernelspec rlm-python-data and tests/data",
}


def main(arguments: Sequence[str]) -> None:
    """Entry of `bin/setup`."""
    parser = argparse.ArgumentParser(
        prog="bin/setup",
        description="Make .venv and install the package and what its tests need into it.",
        epilog="Groups: " + "; ".join(f"{name}: {words}" for name, words in DESCRIPTIONS.items()) + ".",
    )
    parser.add_argument(
        "--with",
        dest="groups",
        metavar="GROUP[,GROUP...]",
        action="extend",
        default=[],
        type=lambda names: names.split(","),
        help="also install this group; may be given more than once",
    )
    groups = parser.parse_args(arguments).groups
    unknown = [name for name in groups if name not in DESCRIPTIONS]
    if unknown:
        parser.error(f"there is no group {unknown[0]!r}; there are: {', '.join(DESCRIPTIONS)}")
    with locked(ROOT):
        make_environment(ROOT, CORE)
        for name in dict.fromkeys(groups):
            if name == "codex":
                install_codex(ROOT)
            elif name == "claude":
                install_claude(ROOT)
            elif name == "axe":
                install_axe(ROOT)
                install_biome(ROOT)
            else:
                make_environment(ROOT, GROUPS[name])


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the checkout for this process: a lock on the directory itself, which the system releases when we die."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another bin/setup is at work here; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def fingerprint(root: Path) -> str:
    """Hash of what the environment depends on: the input files, the Python that makes it, and its location."""
    digest = hashlib.sha256(f"{root}\0{sys.version}\0{platform.machine()}\0".encode())
    for pattern in INPUTS:
        for path in sorted(root.glob(pattern)):
            digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_current(directory: Path, stamp: str, stamp_name: str = STAMP_NAME) -> bool:
    """Whether `directory` was completed for exactly this stamp."""
    try:
        return (directory / stamp_name).read_text(encoding="utf-8") == stamp
    except OSError:
        return False


def make_environment(root: Path, environment: Environment) -> None:
    """Bring one environment up to date; does nothing if its stamp says that it already is."""
    directory = root / environment.directory
    stamp = fingerprint(root)
    if is_current(directory, stamp, environment.stamp_name()):
        return
    python = directory / "bin" / "python"
    if not runs_this_version(python):
        say(f"making {environment.directory} with Python {platform.python_version()}")
        run([sys.executable, "-m", "venv", "--clear", str(directory)], "Debian: apt-get install python3-venv")
    (directory / environment.stamp_name()).unlink(missing_ok=True)
    say(f"installing the package with [{environment.extras}] into {environment.directory}")
    pip = [str(python), "-I", "-B", "-m", "pip", "--disable-pip-version-check"]
    constraints = [part for name in environment.constraints for part in ("--constraint", name)]
    install = [*pip, "install", "-qq", "--no-compile", *constraints, "--editable", f".[{environment.extras}]"]
    run(install, "is a package index to be reached?", cwd=root)
    leave_out(pip, directory)
    say("compiling bytecode")
    compile_bytecode(root, directory)
    (directory / environment.stamp_name()).write_text(stamp, encoding="utf-8")
    say(f"{environment.directory} is done")


def runs_this_version(python: Path) -> bool:
    """Whether an earlier environment can be kept: its Python starts, and is the one that runs us."""
    try:
        found = subprocess.run(
            [str(python), "-I", "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return found.returncode == 0 and found.stdout.strip() == sys.version.strip()


def leave_out(pip: list[str], directory: Path) -> None:
    """Remove what `venv` installs and nobody uses: setuptools (with Python 3.11), and the bytecode of pip."""
    packages = site_packages(directory)
    if list(packages.glob("setuptools-*.dist-info")):
        run([*pip, "uninstall", "-qq", "--yes", "setuptools"], "is .venv writable?")
    for bytecode in [*packages.glob("pip/**/__pycache__")]:
        shutil.rmtree(bytecode)


def compile_bytecode(root: Path, directory: Path) -> None:
    """Write the bytecode that a start reads: with PYTHONDONTWRITEBYTECODE set, each start would compile it again.

    `-I` leaves that setting out of account. What cannot be imported is not asked for here: the start itself says it.
    """
    python = [str(directory / "bin" / "python"), "-I"]
    paths = [str(root / "rlm_kernel_mcp")]
    if directory.name == CORE.directory:
        policy = str(root / "kernelspecs" / "rlm-python" / "policy.json")
        for start in STARTS:
            quietly([*python, "-c", start, policy])
    else:
        paths.append(str(site_packages(directory)))
    quietly([*python, "-m", "compileall", "-q", "-j", "0", *paths])


def site_packages(directory: Path) -> Path:
    """The directory of an environment's packages."""
    return next((directory / "lib").glob("python*")) / "site-packages"


def quietly(argv: list[str]) -> None:
    """Run a command that may fail without harm: packages ship templates that are not Python."""
    nothing = subprocess.DEVNULL
    subprocess.run(argv, check=False, stdin=nothing, stdout=nothing, stderr=nothing)


def install_codex(root: Path) -> None:
    """Download the pinned Codex binary into `.codex-bin/`."""
    binary = "node_modules/@openai/codex-*/vendor/*/bin/codex"
    install_from_npm(root / ".codex-bin", "Codex", f"@openai/codex@{CODEX_VERSION}", binary, megabytes=300)


def install_claude(root: Path) -> None:
    """Download the pinned program `claude` into `.claude-bin/`, from the package of this machine's kind."""
    kind = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}.get(platform.machine(), platform.machine())
    package = f"@anthropic-ai/claude-code-{kind}@{CLAUDE_VERSION}"
    binary = "node_modules/@anthropic-ai/claude-code-*/claude"
    install_from_npm(root / ".claude-bin", "claude", package, binary, megabytes=400)


def install_axe(root: Path) -> None:
    """Download the pinned axe-core, which looks a page through for what keeps people out, into `.axe/`."""
    install_from_npm(
        root / ".axe", "axe-core", f"axe-core@{AXE_VERSION}", "node_modules/axe-core/axe.min.js", megabytes=4
    )


def install_biome(root: Path) -> None:
    """Download the pinned Biome, which `bin/check` has look at the page's scripts, into `.biome/`."""
    program = "node_modules/@biomejs/cli-*/biome"
    install_from_npm(root / ".biome", "Biome", f"@biomejs/biome@{BIOME_VERSION}", program, megabytes=100)


def install_from_npm(directory: Path, name: str, package: str, binary: str, *, megabytes: int) -> None:
    """Download a package of npm's into a directory of its own; `binary`: what has to be in it then."""
    stamp = f"{package.rpartition('@')[2]} {platform.system()} {platform.machine()}"
    if is_current(directory, stamp):
        return
    npm = shutil.which("npm")
    if npm is None:
        fail(f"{name} comes from npm, which is not here (Debian: apt-get install npm; macOS: brew install node)")
    say(f"installing {package} into {directory.name} (about {megabytes} MB)")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (directory / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    run(
        [npm, "install", "--prefix", str(directory), "--no-audit", "--no-fund", "--loglevel=error", package],
        "is the npm registry to be reached?",
    )
    if not list(directory.glob(binary)):
        fail(f"npm installed {package}, but without a binary for {platform.system()} {platform.machine()}")
    (directory / STAMP_NAME).write_text(stamp, encoding="utf-8")
    say(f"{name} is there")


def run(argv: list[str], hint: str, cwd: Path | None = None) -> None:
    """Run one command of the set-up; if it fails, end with the command and with what may help."""
    status = subprocess.run(argv, cwd=cwd, check=False, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno()).returncode
    if status:
        fail(f"`{' '.join(argv)}` ended with status {status} ({hint})")


def say(text: str) -> None:
    """Print a line on stderr; stdout belongs to the command that called the set-up."""
    print(f"bin/setup: {text}", file=sys.stderr, flush=True)


def fail(text: str) -> NoReturn:
    """End with status 2: the machine lacks something."""
    say(text)
    raise SystemExit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
