"""Where the cluster is of which this process is to be a part, and the file with the token that lets it in.

Is: an address and a path, from the environment or from what `cluster up` has left in the state directory, and the
variables by which Ray is told of the token. Is not: Ray (`ray_actors.py`). Above: `joining.py`, the commands of
clusters. Below: errors.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput

AUTO: Final = "auto"
ADDRESS: Final = re.compile(r"(?:\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9.-]{1,253}):[0-9]{1,5}")
BESIDE: Final = "cluster"
"""Directory of the state directory in which the file and the token of a cluster of this machine are."""
_FILE: Final = "place.json"
_TOKEN: Final = "auth_token"  # noqa: S105 (a file's name)
TOKENS: Final = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
MODE: Final = "RAY_AUTH_MODE"
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
"""The addresses at which Ray listens there alone; at any other, 127.0.0.2 too, it listens on all that a machine has."""
STAYS_ON_LOOPBACK: Final = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""At 0 a program of Ray's takes loopback for what it is, and not for a way to say this machine's name in a network."""
TRIAL_S: Final = 60.0
REFUSED: Final = 3
STRANGER: Final = f"""
import sys
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
try:
    GcsClient(address=sys.argv[1])
except AuthenticationError:
    sys.exit({REFUSED})
"""
"""Looks at Ray's store of facts. Without a token in its environment Ray looks for one in the home directory, and not
where the mode is `disabled`."""


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """Where it is."""

    address: str
    """Of Ray's head: HOST:PORT."""
    token_path: str = ""
    """File with its token; empty: Ray finds it by its own variables, or in its own file."""


def found_place(where: str, environ: Mapping[str, str], state_dir: Path) -> ClusterPlace:
    """The place of a cluster. `where`: `auto`, or the address itself.

    Raises:
        InvalidInput: there is none, or that is no address.
    """
    left = _left(state_dir)
    address = where
    if where == AUTO:
        address = environ.get("RAY_ADDRESS", "") or (left.address if left else "")
        if not address:
            raise InvalidInput(
                "There is no cluster: RAY_ADDRESS is not set, and none of this machine is known in RLM_STATE_DIR.",
                "Begin one with `rlm-kernel-mcp cluster up`, or give the address of Ray's head, HOST:PORT.",
            )
    if not ADDRESS.fullmatch(address):
        raise InvalidInput(
            f"{address[:80]!r} is not the address of a cluster, HOST:PORT.", "Give the address of Ray's head."
        )
    is_left = left is not None and left.address == address
    return ClusterPlace(address, left.token_path if is_left and left is not None else "")


def tell_ray(place: ClusterPlace, **more: str) -> None:
    """Have this process's Ray know: it reads its environment once, so that this comes before its first import."""
    os.environ.update(of_ray(place, os.environ), **more)


def of_ray(place: ClusterPlace, environ: Mapping[str, str]) -> dict[str, str]:
    """What Ray reads in its process's environment.

    That there is a token, and where; that nothing is reported; how often it looks for a head that does not answer, for
    40 s each time.
    """
    own = {MODE: "token", "RAY_USAGE_STATS_ENABLED": "0", "RAY_NUM_REDIS_GET_RETRIES": "1", "RAY_worker_niceness": "0"}
    if place.address.rpartition(":")[0] in LOOPBACK:
        own[STAYS_ON_LOOPBACK] = "0"
    if place.token_path and not any(environ.get(name) for name in TOKENS):
        own["RAY_AUTH_TOKEN_PATH"] = place.token_path
    return own


def made_token(state_dir: Path) -> str:
    """The path of the token of clusters of this machine, which is made where there is none; of this user alone."""
    directory = state_dir / BESIDE
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / _TOKEN
    with contextlib.suppress(FileExistsError), _new(path) as descriptor:
        os.write(descriptor, secrets.token_hex(32).encode())
    return str(path)


def leave(state_dir: Path, place: ClusterPlace) -> None:
    """Have the next process find it."""
    directory = state_dir / BESIDE
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = directory / f"{_FILE}.{os.getpid()}"
    new.unlink(missing_ok=True)
    with _new(new) as descriptor:
        os.write(descriptor, json.dumps(asdict(place)).encode())
    new.replace(directory / _FILE)


def forget(state_dir: Path, place: ClusterPlace) -> None:
    """Have nobody find it any more; another one's is left."""
    if _left(state_dir) == place:
        (state_dir / BESIDE / _FILE).unlink(missing_ok=True)


def refuses_strangers(place: ClusterPlace, environ: Mapping[str, str]) -> bool:
    """Whether a process without a token is refused there; tried by one. What is not said to be refused is let in."""
    stranger = {name: value for name, value in environ.items() if name not in TOKENS} | {MODE: "disabled"}
    argv = [sys.executable, "-I", "-c", STRANGER, place.address]
    try:
        return (
            subprocess.run(argv, env=stranger, check=False, timeout=TRIAL_S, capture_output=True).returncode == REFUSED
        )
    except subprocess.TimeoutExpired:
        return False


@contextlib.contextmanager
def _new(path: Path) -> Iterator[int]:
    """A file that there was not, of this user alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _left(state_dir: Path) -> ClusterPlace | None:
    """What a `cluster up` has left; None: none, or nothing that can be read."""
    try:
        said = json.loads((state_dir / BESIDE / _FILE).read_text(encoding="utf-8"))
        return ClusterPlace(str(said["address"]), str(said["token_path"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
