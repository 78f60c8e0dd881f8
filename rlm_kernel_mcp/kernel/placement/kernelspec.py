"""Where our kernelspecs lie, and how they get to where Jupyter looks.

Is: the directory of the package's own specs, and install, list and remove for other Jupyter clients.
Is not: reading a spec (the provisioner's). Above: the command line, the kernel's start. Below: `policy.py`; Jupyter's
paths, imported only when asked for.

A client of another environment finds an installed spec, and starts our Python, since `argv[0]` is made
absolute; it also needs this package in its own environment, for the provisioner that the spec names.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import site
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.policy import load_policy
from rlm_kernel_mcp.text.home_directory import own_home

if TYPE_CHECKING:
    from jupyter_client.kernelspec import KernelSpecManager

POLICY_FILE: Final = "policy.json"
Variables = Iterable[tuple[str, str]] | None
_NO: Final = ("no", "n", "false", "off", "0", "0.0")
"""What Jupyter takes for a no."""
PACKAGE: Final = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class InstalledKernelspec:
    """One of our kernelspecs in a directory that Jupyter searches; `python` is the `argv[0]` that it starts."""

    name: str
    directory: Path
    python: str


def kernelspec_dir() -> Path:
    """The directory of our own: the package's copy, or in an editable install the checkout's."""
    packaged = PACKAGE / "kernelspecs"
    return packaged if packaged.is_dir() else PACKAGE.parent / "kernelspecs"


def locked_kernelspec(name: str, variables: Variables = None) -> Path:
    """The directory of a kernelspec that carries a policy: our own, or another where Jupyter looks.

    `variables`: as `jupyter_dirs`.

    Raises:
        InvalidInput: there is none of that name; the message has the known ones.
    """
    found = {spec.name: spec for spec in _own_specs() if (spec / POLICY_FILE).is_file()}
    if name not in found:
        for policy in (
            policy for kernels in jupyter_dirs(variables) for policy in Path(kernels).glob(f"*/{POLICY_FILE}")
        ):
            if (policy.parent / "kernel.json").is_file():
                found.setdefault(policy.parent.name, policy.parent)
    if name not in found:
        raise InvalidInput(
            f"RLM_KERNEL={name!r} is not a kernelspec with a policy; known: {', '.join(sorted(found))}.",
            "Correct the setting: the server starts no kernel that is not locked down.",
        )
    return found[name]


def spec_manager(variables: Variables = None) -> KernelSpecManager:
    """Jupyter's reader of kernelspecs, over our own and the directories where Jupyter looks.

    It is given the directories: to find them it would import the whole of IPython, for `~/.ipython/kernels`.
    `variables`: as `jupyter_dirs`.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    return KernelSpecManager(ensure_native_kernel=False, kernel_dirs=[str(kernelspec_dir()), *jupyter_dirs(variables)])


def jupyter_dirs(variables: Variables = None) -> list[str]:
    """Where Jupyter looks for kernelspecs, the first that wins first.

    `variables`: those of the environment that say so (`JUPYTERS` of `settings.py`), of a client of this process; None:
    this process's own, for a command and for another Jupyter client.
    """
    from jupyter_core import paths

    if variables is None:
        return paths.jupyter_path("kernels")
    said = dict(variables)
    given = [part.rstrip(os.sep) for part in said.get("JUPYTER_PATH", "").split(os.pathsep) if part]
    user = [said.get("JUPYTER_DATA_DIR") or _data_dir(said)]
    if site.ENABLE_USER_SITE:
        user.append(str(Path(site.getuserbase(), "share", "jupyter")))
    system = list(paths.SYSTEM_JUPYTER_PATH)
    env = [one for one in paths.ENV_JUPYTER_PATH if one not in system]
    wish = said.get("JUPYTER_PREFER_ENV_PATH")
    env_first = paths.prefer_environment_over_user() if wish is None else wish.lower() not in _NO
    found = [*given, *(env + user if env_first else user + env), *system]
    return [str(Path(one, "kernels")) for one in dict.fromkeys(found)]


def _data_dir(said: Mapping[str, str]) -> str:
    home = os.path.realpath(said.get("HOME") or own_home(os.getuid()) or "/")
    if sys.platform == "darwin":
        return str(Path(home, "Library", "Jupyter"))
    return str(Path(said.get("XDG_DATA_HOME") or Path(home, ".local", "share"), "jupyter"))


def install_kernelspec(prefix: Path | None = None) -> tuple[Path, ...]:
    """Copy our kernelspecs to where Jupyter looks, replacing older copies. What lacks a module here stays away.

    Args:
        prefix: environment to install into (`--sys-prefix` is `Path(sys.prefix)`); None: the user's own directory.

    Returns:
        The directories that were written.

    Raises:
        InvalidInput: the place cannot be written, or lies in a home directory that is not there.
    """
    kernels = _kernels_below(prefix)
    if prefix is None and not _home_is_there(kernels):  # root could make it, as a home directory of nobody
        raise _refused(kernels, "written", FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    return tuple(_copy(source, kernels / source.name) for source in _own_specs() if not _lacking(source))


def kernelspecs_left_out() -> dict[str, list[str]]:
    """Those of our kernelspecs that could not start with this Python, each with the modules that it lacks."""
    return {source.name: lacking for source in _own_specs() if (lacking := _lacking(source))}


def remove_kernelspec(prefix: Path | None = None) -> tuple[Path, ...]:
    """Delete what `install_kernelspec` put at the same place, given the same `prefix`; returns the deleted directories.

    Raises:
        InvalidInput: there is none of ours at that place, or it cannot be deleted.
    """
    kernels = _kernels_below(prefix)
    try:
        ours = tuple(kernels / spec.name for spec in _own_specs() if (kernels / spec.name / "kernel.json").is_file())
    except OSError as error:
        raise _refused(kernels, "looked at", error) from error
    if not ours:
        raise InvalidInput(
            f"No kernelspec of this package is installed in {kernels}.",
            "List the installed ones with `rlm-kernel-mcp kernelspec list`.",
        )
    for directory in ours:
        _delete(directory)
    return ours


def installed_kernelspecs() -> tuple[InstalledKernelspec, ...]:
    """Every copy of ours in the directories that Jupyter searches from here, the one that wins first."""
    from jupyter_core.paths import jupyter_path

    found = []
    for kernels in map(Path, jupyter_path("kernels")):
        for source in _own_specs():
            spec = kernels / source.name / "kernel.json"
            with suppress(OSError):  # what may not be looked at is not a kernelspec to Jupyter either
                if spec.is_file():
                    found.append(InstalledKernelspec(source.name, spec.parent, _python_of(spec)))
    return tuple(found)


def _python_of(spec: Path) -> str:
    """The program that a kernelspec starts; or what is wrong with a kernelspec that names none."""
    try:
        return str(json.loads(spec.read_text(encoding="utf-8"))["argv"][0])
    except (OSError, ValueError, LookupError, TypeError):
        return "damaged: install it again, or remove it"


def _lacking(source: Path) -> list[str]:
    """The modules that its policy needs and this Python does not have. Nothing is imported for this."""
    needed = load_policy(source / POLICY_FILE).imports.needed
    return [name for name in needed if find_spec(name.partition(".")[0]) is None]


def _own_specs() -> list[Path]:
    return sorted(spec.parent for spec in kernelspec_dir().glob("*/kernel.json"))


def _kernels_below(prefix: Path | None) -> Path:
    if prefix is not None:
        return prefix.expanduser().absolute() / "share" / "jupyter" / "kernels"
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "kernels"


def _copy(source: Path, directory: Path) -> Path:
    spec = json.loads((source / "kernel.json").read_text(encoding="utf-8"))
    spec["argv"][0] = sys.executable
    try:
        _remove(directory)
        shutil.copytree(source, directory)
        (directory / "kernel.json").write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise _refused(directory, "written", error) from error
    return directory


def _delete(directory: Path) -> None:
    try:
        _remove(directory)
    except OSError as error:
        raise _refused(directory, "deleted", error) from error


def _remove(directory: Path) -> None:
    """A symbolic link to a spec's directory is unlinked, and what it points to stays."""
    if directory.is_symlink():
        directory.unlink()
    elif directory.exists():
        shutil.rmtree(directory)


def _home_is_there(directory: Path) -> bool:
    """Whether the home directory exists, if this one lies below it."""
    home = os.path.expanduser("~")  # noqa: PTH111  (as Jupyter reads it, never an error)
    return not directory.is_relative_to(home) or os.path.exists(home)  # noqa: PTH110  (as above)


def _refused(directory: Path, what: str, error: OSError) -> InvalidInput:
    home = os.path.expanduser("~")  # noqa: PTH111  (as Jupyter reads it, never an error)
    below_home = directory.is_relative_to(home)
    in_prefix = directory.is_relative_to(sys.prefix)
    others = ["--prefix DIR", *([] if in_prefix else ["--sys-prefix"]), "another HOME" if below_home else "--user"]
    missing = "" if _home_is_there(directory) else f"; there is no directory {home}"
    return InvalidInput(
        f"The kernelspec {directory} cannot be {what}: {error.strerror}{missing}.",
        f"Choose another place: {', '.join(others[:-1])} or {others[-1]}.",
    )
