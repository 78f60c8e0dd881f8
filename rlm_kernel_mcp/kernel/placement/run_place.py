"""Where run directories may lie: a directory of this user alone, which nobody else took first or can take away.

Is: the choice, made again at each start, and what to say of one that is not the first. Is not: what lies there. Above:
`run_dir.py`. Below: the standard library.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)
PATH_BYTES_MAX: Final = 84
"""Of a run directory's path. Below it come a kernel's directory and its sockets; a socket's path may have 107."""
RANDOM_NAME_BYTES: Final = 9
"""What `mkdtemp` adds to a place, with the slash; or to a place's name, with the hyphen."""
SHORT_DIRECTORIES: Final = ("/tmp", "/var/tmp")  # noqa: S108  (the place made there is this user's alone)


def run_place() -> Path:
    """The directory below which run directories are made: 0700, this user's. It stays when they are gone.

    Where the first is too long for sockets, another one is taken, which the log says.

    Raises:
        OSError: none can be made.
    """
    first, *others = _candidates()
    place = next((place for place in (first, *filter(_is_reachable, others)) if _has_room(place)), first)
    if place != first:
        log.warning(
            "a run directory below %s would have a path of %d bytes, and the limit is %d, since a socket's path may "
            "have 107: kernels have theirs below %s",
            first,
            _longest(first),
            PATH_BYTES_MAX,
            place,
        )
    place.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
    if _made(place):
        return place
    return _beside(place)


def _candidates() -> Iterator[Path]:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir() and os.access(runtime, os.W_OK):
        yield Path(runtime) / "rlm"
    for directory in dict.fromkeys([tempfile.gettempdir(), *SHORT_DIRECTORIES]):
        yield Path(directory) / f"rlm-{os.getuid()}"


def _has_room(place: Path) -> bool:
    """Whether a run directory's path fits there, or beside it where somebody else has taken it."""
    return _longest(place) <= PATH_BYTES_MAX


def _longest(place: Path) -> int:
    """Bytes of a run directory's path."""
    is_taken = os.path.lexists(place) and not _is_own(place)
    return len(os.fsencode(place)) + RANDOM_NAME_BYTES * (2 if is_taken else 1)


def _is_reachable(place: Path) -> bool:
    return os.access(place.parent, os.W_OK | os.X_OK)


def _made(place: Path) -> bool:
    """Whether a place is there now and is this user's alone."""
    try:
        place.mkdir(mode=0o700)
    except FileExistsError:
        return _is_own(place)
    return True


def _beside(taken: Path) -> Path:
    """A place beside one that somebody else made first: one of an earlier start, or a new one that nobody can guess.

    Raises:
        OSError: none can be made.
    """
    earlier = (place for place in sorted(taken.parent.glob(f"{taken.name}-*")) if _is_own(place))
    place = next(earlier, None) or Path(tempfile.mkdtemp(prefix=f"{taken.name}-", dir=taken.parent))
    log.warning("%s is there and is not a directory of this user alone: kernels have theirs below %s", taken, place)
    return place


def _is_own(place: Path) -> bool:
    status = place.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
