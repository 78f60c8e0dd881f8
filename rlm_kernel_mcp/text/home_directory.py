"""What a path's `~` stands for, where the home directory is somebody else's to say.

Is: text to text; `~name` is asked of the user database. Is not: a look at this process's environment, which is that of
whoever started it. Above: `settings.py`, `context/`. Below: the standard library.
"""

from __future__ import annotations

import pwd


def with_home(path: str, home: str | None) -> str:
    """The path with `~` or `~name` at its begin replaced, as a shell does; as it is where there is no such directory.

    `home`: what `~` stands for; None: nothing.
    """
    if not path.startswith("~"):
        return path
    begin, slash, rest = path.partition("/")
    directory = home if begin == "~" else _home_of(begin[1:])
    return path if directory is None else directory.rstrip("/") + slash + rest or "/"


def _home_of(name: str) -> str | None:
    try:
        return pwd.getpwnam(name).pw_dir
    except (KeyError, ValueError):  # nobody is called that, or can be
        return None


def own_home(user: int) -> str | None:
    """The home directory that the user database has for a user; None where it has none."""
    try:
        return pwd.getpwuid(user).pw_dir or None
    except KeyError:
        return None
