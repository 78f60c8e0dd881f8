"""Every error this package raises on purpose, in one tree.

    RlmError
      RequestRefused              the caller can put it right by asking differently
        InvalidInput                INVALID_INPUT
        SessionNotFound             SESSION_NOT_FOUND
        SessionFinalized            SESSION_FINALIZED
        SessionBusy                 SESSION_BUSY
          NoRoom                    SESSION_BUSY: a node of a cluster takes no session; another one may
        VariableNotFound            VARIABLE_NOT_FOUND
        ContextNotFound             CONTEXT_NOT_FOUND
        ContextDenied               CONTEXT_DENIED
        ContextTooLarge             CONTEXT_TOO_LARGE
        CitationMismatch            CITATION_MISMATCH
        SessionMoved                SESSION_MOVED: another node of a cluster drives it now
      KernelFailure               the kernel, or the machine below it, did not hold up
        KernelStartFailed           KERNEL_START_FAILED
        HostUnavailable             KERNEL_START_FAILED: no host can be had; raised to programs alone
        KernelDied                  KERNEL_DIED
        RestoreStopped              KERNEL_DIED: the caller gave up the wait for the values; nothing is lost
        HostEnded                   KERNEL_DIED: the host ended during a program's call; sessions come back on use
        SandboxUnavailable          SANDBOX_UNAVAILABLE
        StoreUnavailable            SESSION_BUSY: the shared store of a cluster took nothing; nothing was acknowledged
        StoreDamaged                KERNEL_DIED: bytes in the shared store are not what was written there
        NodeLost                    KERNEL_DIED: a node of a cluster did not answer; routers alone see it
        ClusterUnavailable          SESSION_BUSY: a cluster does not answer, or has none of our nodes
      InternalError               INTERNAL_ERROR: a defect of ours; details go to the log only

An exception raised by the *user's code* is not here: it is data, part of a step's report.

`message` says what happened, with the value, the limit and the unit. `next_step` is one sentence that
says what to do next. Neither holds a server traceback, a secret, or a host path that the caller did not give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar


class RlmError(Exception):
    """Base of the tree. `code` is the contract's error code."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    default_next_step: ClassVar[str] = "Call the tool again; if it fails again, tell the user."

    def __init__(self, message: str, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step or self.default_next_step


class RequestRefused(RlmError):
    """The request cannot be served as asked; asking differently can put it right."""


class InvalidInput(RequestRefused):
    """An argument is missing, unknown, of the wrong type or out of its bounds."""

    code = "INVALID_INPUT"
    default_next_step = "Correct the argument that the message names and call the tool again."


class SessionNotFound(RequestRefused):
    """No session has this handle."""

    code = "SESSION_NOT_FOUND"
    default_next_step = "Call rlm_list_sessions for the live session ids, or rlm_init_context to open a session."


class SessionFinalized(RequestRefused):
    """The session already has its final answer."""

    code = "SESSION_FINALIZED"
    default_next_step = "Open a new session with rlm_init_context; rlm_get_trace still reads this one."


class SessionBusy(RequestRefused):
    """A step is running in this session, or another server drives it."""

    code = "SESSION_BUSY"
    default_next_step = "Call rlm_await_step to wait for the running step, or rlm_interrupt to stop it."


class SessionElsewhere(SessionBusy):
    """Another process drives it, and keeps it."""


class NoRoom(SessionBusy):
    """A node of a cluster takes no session now: it is full, or is being drained."""

    default_next_step = "Call again: another node may have room."


class VariableNotFound(RequestRefused):
    """The session's namespace has no such name."""

    code = "VARIABLE_NOT_FOUND"
    default_next_step = "Ask for one of the names in the message, or bind the name in a step first."


class ContextNotFound(RequestRefused):
    """A context path does not exist."""

    code = "CONTEXT_NOT_FOUND"
    default_next_step = "Check the path; relative paths are read against the server's working directory."


class ContextDenied(RequestRefused):
    """A context path lies outside the allowed roots, or cannot be read."""

    code = "CONTEXT_DENIED"
    default_next_step = "Ask the user to add the directory to RLM_CONTEXT_ROOTS, or give a path below an allowed root."


class ContextTooLarge(RequestRefused):
    """The context is larger than the session's memory can hold."""

    code = "CONTEXT_TOO_LARGE"
    default_next_step = "Give fewer or smaller files, or ask the user to raise RLM_MEMORY_LIMIT_MB."


class CitationMismatch(RequestRefused):
    """A mark or quote of the final answer is not what the sources hold. Nothing is lost, and nothing is final."""

    code = "CITATION_MISMATCH"
    default_next_step = "Correct the citations, or leave them out, and call rlm_finalize again: the session is open."

    def __init__(
        self, message: str, next_step: str | None = None, citations: Sequence[Mapping[str, object]] = ()
    ) -> None:
        """`citations`: of each that failed what the client is told, with its nearest passage."""
        super().__init__(message, next_step)
        self.citations = tuple(citations)


class SessionMoved(RequestRefused):
    """Another node of the cluster has taken the session over since: what this one did last is not acknowledged."""

    code = "SESSION_MOVED"
    default_next_step = (
        "Call again: the call goes to the node that drives the session now; rlm_get_trace tells what ran."
    )


class KernelFailure(RlmError):
    """The kernel, or the machine below it, did not hold up."""


class KernelStartFailed(KernelFailure):
    """A kernel could not be started; no code of the caller ran."""

    code = "KERNEL_START_FAILED"
    default_next_step = "Tell the user to run `rlm-kernel-mcp doctor`, which says what is missing."


class KernelDied(KernelFailure):
    """The session's kernel is gone and could not be replaced."""

    code = "KERNEL_DIED"
    default_next_step = "Open a new session with rlm_init_context; rlm_get_trace still reads this one."


class RestoreStopped(KernelFailure):
    """The caller gave up while the session's values came back; they are where they were."""

    code = "KERNEL_DIED"
    default_next_step = "Run another step: it tries again to bring the session's values back."


class HostUnavailable(KernelFailure):
    """A program is to have its sessions in a host, and there can be none for it."""

    code = "KERNEL_START_FAILED"
    default_next_step = 'Use host="auto" or host="off", which have them in this process, or see rlm-kernel-mcp doctor.'


class HostEnded(KernelFailure):
    """The host of a program's sessions ended before it answered."""

    code = "KERNEL_DIED"
    default_next_step = "Call again, which finds another host and the values that were kept; trace tells what has run."


class SandboxUnavailable(KernelFailure):
    """A wall that the policy requires cannot be raised on this machine."""

    code = "SANDBOX_UNAVAILABLE"
    default_next_step = "Tell the user to run `rlm-kernel-mcp doctor`, which names the remedy."


class StoreUnavailable(KernelFailure):
    """The shared store of a cluster did not take or give what it was asked for. Nothing of that is acknowledged."""

    code = "SESSION_BUSY"
    default_next_step = "Call again later; if it fails again, tell the user to look at the cluster's shared store."


class StoreDamaged(KernelFailure):
    """Bytes in the shared store of a cluster are not what was written there."""

    code = "KERNEL_DIED"
    default_next_step = "Tell the user to bring the shared store back from a copy, or open a new session."


class NodeLost(KernelFailure):
    """A node of a cluster did not answer: it is gone, or nobody gets to it. Whether it did what it was told is open."""

    code = "KERNEL_DIED"
    default_next_step = "Call again: another node takes the session over; rlm_get_trace tells what has run."


class ClusterUnavailable(KernelFailure):
    """A cluster does not answer, or has none of our nodes. Nothing was done."""

    code = "SESSION_BUSY"
    default_next_step = "Call again later; if it fails again, tell the user to look whether the cluster's head runs."


class InternalError(RlmError):
    """A defect of this server. The log on stderr has the details; the client gets none of them."""


def error_of(code: str, message: str, next_step: str) -> RlmError:
    """The error that a record has told of."""
    for kind in (*RequestRefused.__subclasses__(), *KernelFailure.__subclasses__()):
        if kind.code == code:
            return kind(message, next_step)
    return InternalError(message, next_step)


def again(error: RlmError) -> RlmError:
    """The same once more, to be raised: each raise of one object makes its traceback longer."""
    return type(error)(error.message, error.next_step)
