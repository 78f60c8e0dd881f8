"""Why a question of a session's code has no answer.

Is: the one exception, which also stands in an answer's place. Is not: a wall. Above: the modules beside it.
Below: nothing.
"""

from __future__ import annotations


class SubcallError(Exception):
    """code: off | budget | too_large | too_many | timeout | declined | refused | rate_limited | backend | schema | stopped | gone."""  # noqa: E501

    def __init__(self, code: str = "backend", message: str = "") -> None:
        super().__init__(code, message)
        self.code, self.message = code, message

    def __bool__(self) -> bool:
        """False, so that `[a for a in got if a]` has the good ones."""
        return False

    def __str__(self) -> str:
        """Code and message."""
        return f"{self.code}: {self.message}"
