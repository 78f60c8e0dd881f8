"""What `claude` says on its output, line by line: which tools it offers, and how it has answered.

Is: bytes to an answer, or why there is none. One that offers any tool is refused at the line that says so.
Is not: the bytes' way here (`run.py`), nor a repetition. Sans-I/O. Above: `claude_cli.py`, `trial.py`.
Below: `backends/replies.py`, `backends/protocol.py`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from rlm_kernel_mcp.both_sides.sendable import sendable
from rlm_kernel_mcp.session.answering.backends.key import blacked_out
from rlm_kernel_mcp.session.answering.backends.protocol import ATTEMPTS, Answer, Unanswered
from rlm_kernel_mcp.session.answering.backends.replies import ANSWER_CHARS_MAX, SAID_CHARS, cut_off, failure_of
from rlm_kernel_mcp.session.answering.claude.keeper import KEEPER_FAILED
from rlm_kernel_mcp.text.printable import printable
from rlm_kernel_mcp.variables.subcalls import Secret

OUTPUT_BYTES_MAX: Final = 8_000_000
"""Of one run: the answer is in it twice, and as JSON."""
NAMES_SHOWN: Final = 5
USD_MOST: Final = 1_000_000.0
TOKENS_MOST: Final = 1_000_000_000
FOR_ALL: Final = {
    "authentication_failed": "claude is not logged in, or its key is refused; the user has to correct it "
    "(`claude` and its /login, or ANTHROPIC_API_KEY).",
    "billing_error": "The account of claude is used up, or not paid.",
}
"""What is every question's, by the program's own word."""


class Said:
    """Of one run."""

    def __init__(self, secrets: Sequence[str] = (), *, is_trial: bool = False) -> None:
        """`secrets`: are blacked out, before anything is cut: half of one would not be found any more."""
        self._secrets, self._is_trial = secrets, is_trial
        self._bytes = 0
        self._line = bytearray()
        self._word = ""
        self._has_gone_on = False
        self.is_toolless = False
        """It has said that it offers no tool."""
        self.result: dict[str, Any] | None = None

    def take(self, piece: bytes) -> bool:
        """A piece of the output; whether it has come to its result.

        Raises:
            Unanswered: it offers tools, or says too much.
        """
        self._bytes += len(piece)
        if self._bytes > OUTPUT_BYTES_MAX:
            what = f"claude said more than {OUTPUT_BYTES_MAX:,} bytes to one question."
            raise Unanswered("too_large", what, is_paid=True)
        *whole, rest = piece.split(b"\n")
        for line in whole:
            self._read(bytes(self._line + line))
            self._line.clear()
        self._line += rest
        return self.result is not None

    def cleared(self, text: str) -> str:
        """A text without the secrets."""
        for secret in self._secrets:
            text = blacked_out(text, Secret(secret))
        return text

    def answer(self, status: int | None) -> Answer:
        """The answer. `status`: with which it ended by itself.

        Raises: Unanswered: there is none, and why.
        """
        if self.result is None:
            raise ended_without_answer(status, is_paid=self.is_toolless and not self._is_trial)
        text = self.result.get("result")
        text = self.cleared(text) if isinstance(text, str) else None
        answer = self._answer(self.result, text or "")
        if self.result.get("subtype") != "success" or self.result.get("is_error") is not False:
            raise self._failure(answer)
        if self._has_gone_on or text is None:  # then this is a part of it
            raise cut_off(answer)
        if len(text) > ANSWER_CHARS_MAX:
            what = f"The answer had {len(text):,} characters; at most {ANSWER_CHARS_MAX:,} are taken."
            raise Unanswered("too_large", what, answer=answer)
        return answer

    def _read(self, line: bytes) -> None:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return
        kind = found.get("type") if isinstance(found, dict) else None
        if kind == "system" and found.get("subtype") == "init":
            self._check_offers(found)
            self.is_toolless = True
        elif kind == "assistant":
            word = found.get("error")
            self._word = word if isinstance(word, str) else ""
        elif kind == "user":
            self._has_gone_on = True
        elif kind == "result":
            if not self.is_toolless:
                raise self._refused("it does not say which tools it offers")
            self.result = found

    def _failure(self, answer: Answer) -> Unanswered:
        assert self.result is not None
        found, word = self.result, self._word
        if found.get("subtype") == "error_max_budget_usd":
            what = f"The question cost ${answer.usd or 0:.4f}, which is more than one may; its answer is lost."
            return Unanswered("budget", what, answer=answer)
        if found.get("stop_reason") == "refusal":
            return Unanswered("refused", "The model refused to answer.", answer=answer)
        if word == "max_output_tokens":
            return cut_off(answer)
        if word in FOR_ALL and found.get("api_error_status") != 403:
            return Unanswered("backend", FOR_ALL[word], is_for_all=True, answer=answer)
        status = found.get("api_error_status")
        if type(status) is int and 300 <= status < 600:
            failed: Unanswered = failure_of(status, {}, json.dumps({"error": {"message": answer.text}}).encode(), 0.0)
            failed.answer = answer
            return failed
        code, tries = ("rate_limited", ATTEMPTS) if word == "rate_limit" else ("backend", ATTEMPTS)
        said = printable(answer.text[:SAID_CHARS]).removesuffix(".")
        what = f"claude has failed{f': {said}' if said else ''}."
        return Unanswered(code, what, tries=tries if word in ("rate_limit", "server_error") else 1, answer=answer)

    def _check_offers(self, found: dict[str, Any]) -> None:
        """Raises: Unanswered: it offers something, or does not say."""
        for name in ("tools", "mcp_servers"):
            offered = found.get(name)
            if not isinstance(offered, list):
                raise self._refused("it does not say which tools it offers")
            if offered:
                names = [one.get("name") if isinstance(one, dict) else one for one in offered[:NAMES_SHOWN]]
                more = f" and {len(offered) - NAMES_SHOWN} more" if len(offered) > NAMES_SHOWN else ""
                raise self._refused(f"it offers {printable(', '.join(map(str, names))[:SAID_CHARS])}{more}")

    def _refused(self, why: str) -> Unanswered:
        what = "is not asked" if self._is_trial else "was asked, and its answer is not taken"
        words = f"This claude {what}, since {why} (policy): a model that answers code may have no tool at all."
        return Unanswered("refused", words, is_for_all=True, is_paid=not self._is_trial)

    def _answer(self, found: dict[str, Any], text: str) -> Answer:
        """What was said and used. The sums by model count what was used for an answer that is not there, too."""
        models = found.get("modelUsage")
        rows = models.items() if isinstance(models, dict) else ()
        by_model = {name: one for name, one in rows if isinstance(one, dict)}
        inward = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
        tokens_in = sum(_count(one.get(name)) for one in by_model.values() for name in inward)
        tokens_out = sum(_count(one.get("outputTokens")) for one in by_model.values())
        is_told = bool(by_model or found.get("is_error"))
        usd = found.get("total_cost_usd")
        is_sum = isinstance(usd, int | float) and not isinstance(usd, bool) and 0 <= usd <= USD_MOST
        return Answer(
            sendable(text[:ANSWER_CHARS_MAX]),
            tokens_in if is_told else None,
            tokens_out if is_told else None,
            float(usd) if is_sum and usd is not None else None,
            printable(self.cleared(", ".join(by_model))[:SAID_CHARS]),
        )


def ended_without_answer(status: int | None, *, is_paid: bool) -> Unanswered:
    """What it complained of is for the log: it may name files of the host, and what is said here goes to code."""
    if status == KEEPER_FAILED:
        return Unanswered("backend", "claude could not be run: its keeper has failed, which the server's log says.")
    ended = "ended" if status is None else f"ended with status {status}"
    words = f"claude {ended} without an answer; the server's log has what it said."
    return Unanswered("backend", words, is_paid=is_paid)


def _count(number: object) -> int:
    """A count of tokens that can be one."""
    return number if type(number) is int and 0 <= number <= TOKENS_MOST else 0
