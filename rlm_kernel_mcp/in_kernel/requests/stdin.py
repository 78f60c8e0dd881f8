"""`input()` and `getpass()`: they ask the client of the running cell, if it has a person who can answer.

Is: the stdin channel, for one question at a time. Is not: a way to the host: an agent's step has nobody to ask and is
refused. A courtesy, no wall. Above: `in_kernel/ipython/kernel.py`. Below: `in_kernel/courtesies/wording.py`,
ipykernel's stdin socket. Source: Jupyter messaging 5.5, "Messages on the stdin (ROUTER/DEALER) channel".
"""

from __future__ import annotations

import builtins
import contextlib
import getpass
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import zmq
from IPython.core.error import StdinNotImplementedError

from rlm_kernel_mcp.in_kernel.courtesies.builtins_policy import BuiltinRefused
from rlm_kernel_mcp.in_kernel.courtesies.wording import wording

PROMPT_CHARS: Final = 40_000
LOOK_MS: Final = 1_000
"""How often a thread that waits for an answer looks whether its cell still runs."""
END_OF_FILE: Final = "\x04"


class InputRefused(BuiltinRefused, StdinNotImplementedError):
    """There is nobody to ask. Code that is written for notebooks catches the second of its bases."""


class ClientTakesNoAnswers(StdinNotImplementedError):
    """The same in the kernel of another client, under the name that a person knows from other kernels."""


InputRefused.__name__ = InputRefused.__qualname__ = BuiltinRefused.__name__
ClientTakesNoAnswers.__name__ = ClientTakesNoAnswers.__qualname__ = StdinNotImplementedError.__name__


class _Person(NamedTuple):
    """The client of the running cell."""

    parent: dict[str, Any]
    """The cell's request."""
    ident: Any
    """Its route back to the client."""


class InputRequests:
    """Mixin of the kernel: questions to the person behind the running cell."""

    session: Any
    shell: Any
    stdin_socket: Any
    owned: bool
    get_parent: Any
    _get_shell_context_var: Any
    _shell_parent_ident: Any
    _person: _Person | None = None
    """Who can answer now."""

    @contextlib.contextmanager
    def person(self, there: bool) -> Iterator[None]:
        """While a cell runs: whether the client that sent it has somebody who answers."""
        self._person = (
            _Person(self.get_parent("shell"), self._get_shell_context_var(self._shell_parent_ident)) if there else None
        )
        try:
            yield
        finally:
            self._person = None

    def install_input(self) -> None:
        """Have `input` and `getpass` of this process ask the client."""
        self._one_question = threading.Lock()

        def input(prompt: object = "", /) -> str:  # noqa: A001  (it stands in for the builtin)
            """Ask the person at the keyboard; returns the line without its end."""
            return self.raw_input(prompt)

        def ask_password(prompt: str = "", stream: Any = None, *, echo_char: str | None = None) -> str:
            """Ask the person at the keyboard for a password, which is not shown."""
            return self.getpass(prompt, stream, echo_char=echo_char)

        ask_password.__name__ = ask_password.__qualname__ = "getpass"
        builtins.input, getpass.getpass = input, ask_password

    def raw_input(self, prompt: object = "", /) -> str:
        """`input()` of a session.

        Raises:
            InputRefused: an agent's step asks.
            ClientTakesNoAnswers: the cell of a client that takes no questions.
        """
        return self._asked("input", str(prompt), password=False)

    def getpass(self, prompt: str = "", stream: Any = None, *, echo_char: str | None = None) -> str:
        """`getpass.getpass()` of a session; `stream` and `echo_char` are the client's own matter.

        Raises:
            InputRefused, ClientTakesNoAnswers: as `raw_input`.
        """
        del stream, echo_char
        return self._asked("getpass", str(prompt), password=True)

    def _asked(self, name: str, prompt: str, *, password: bool) -> str:
        person = self._person
        # A thread or task of another cell must not ask the client that only happens to be there now.
        if person is None or self.shell.display_pub.parent_header.get("msg_id") != person.parent["header"]["msg_id"]:
            if not (self.owned or self.shell.runs_for_agent):
                raise ClientTakesNoAnswers(f"{name}() has nobody to ask: {wording().nobody_answers}.")
            raise InputRefused(f"{name}() is refused by the policy of this session: {wording().nobody_answers}.")
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        with self._one_question:
            self._forget_stale_answers()
            content = {"prompt": prompt[:PROMPT_CHARS], "password": password}
            self.session.send(self.stdin_socket, "input_request", content, person.parent, ident=person.ident)
            try:
                answer = self._answer(person)
            except KeyboardInterrupt:
                raise KeyboardInterrupt("Interrupted by user") from None
        if answer == END_OF_FILE:
            raise EOFError
        return answer

    def _forget_stale_answers(self) -> None:
        while self.stdin_socket.poll(0):
            self.stdin_socket.recv_multipart(zmq.NOBLOCK)

    def _answer(self, person: _Person) -> str:
        """Wait for the person; an interrupt raises from here."""
        while self._person is person:
            if not self.stdin_socket.poll(LOOK_MS):
                continue
            try:
                _, reply = self.session.recv(self.stdin_socket)
            except ValueError:  # forged or malformed: the person's own answer may still come
                continue
            if reply is not None:
                value = reply["content"].get("value")
                return value if isinstance(value, str) else ""
        raise EOFError("the cell that asked has ended")
