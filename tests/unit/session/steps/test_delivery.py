"""A report's size, whatever a step bound and whatever was lost."""

from __future__ import annotations

import json

import pytest
from mcp.types import TextContent

from rlm_kernel_mcp.server import responses
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.reports import Guardrails, LossReport, StepError, StepReport, Variable
from rlm_kernel_mcp.session.steps.delivery import deliver
from rlm_kernel_mcp.session.steps.outcomes import Outcome


def delivered(outcome: Outcome, max_output_chars: int = 8_000) -> StepReport:
    return deliver(outcome, step_index=1, account=Account(Guardrails()), max_output_chars=max_output_chars)


def reply_chars(report: StepReport) -> int:
    block = responses.step(report, "json").content[0]
    assert isinstance(block, TextContent)
    return len(block.text)


MANY = tuple((f"name_{number}", "its value (generator) was not kept") for number in range(2_000))


@pytest.mark.parametrize("max_output_chars", [1, 100, 300, 8_000])
@pytest.mark.parametrize(
    "loss",
    [
        LossReport("the kernel ended by SIGKILL", MANY, tuple(f"back_{number}" for number in range(3_000))),
        LossReport("the kernel ended by SIGKILL", (), tuple(f"back_{number}" for number in range(3_000))),
        LossReport("; then ".join(["the kernel ended by SIGKILL"] * 200), (), ()),
        LossReport("it ended " * 200, (("name" * 9_000, "why " * 9_000), *MANY), tuple("back" * 999 for _ in range(9))),
    ],
    ids=["gone and back", "all back", "one loss after another", "long words"],
)
def test_the_account_of_a_loss_is_bounded(loss: LossReport, max_output_chars: int) -> None:
    """Names are listed as far as they fit, and the rest is counted."""
    bare = reply_chars(delivered(Outcome("kernel_died", 1)))
    report = delivered(Outcome("kernel_died", 1, lost=loss), max_output_chars)
    assert reply_chars(report) - bare <= max(300, min(3_000, max_output_chars)) + 100
    assert report.lost is not None
    assert len(report.lost.names) + report.lost.more_lost == len(loss.names)
    assert len(report.lost.restored) + report.lost.more_restored == len(loss.restored)
    assert report.lost.reason[:8] == loss.reason[:8]
    for (name, why), (given, because) in zip(report.lost.names[:1], loss.names, strict=False):
        assert given.startswith(name[:10])
        assert because.startswith(why[:10])
    assert not loss.names or report.lost.names


def test_the_reason_that_more_names_than_a_few_share_is_given_once() -> None:
    """The names of one reason stand together; where they are a few, each has it."""
    stale, gone = "restored as it was after step 21; later steps may have changed it", "its value (lock) was not kept"
    rest = tuple((f"more_{number}", stale) for number in range(10))
    rows = (("a", stale), ("g", gone), ("b", stale), ("c", stale), ("h", gone), ("d", stale), *rest)
    report = delivered(Outcome("ok", 1, lost=LossReport("it ended", rows, ())))
    assert report.lost is not None
    likewise = tuple((name, "likewise") for name in (*"bcd", *(name for name, _ in rest)))
    assert report.lost.names == (("a", stale), *likewise, ("g", gone), ("h", gone))


def test_what_is_not_listed_is_counted_in_both_forms() -> None:
    report = delivered(Outcome("ok", 1, lost=LossReport("it ended", MANY, ("x",) * 999)))
    assert report.lost is not None
    data = responses.step(report, "json").structured_content
    assert data is not None
    omitted = {"lost": report.lost.more_lost, "restored": report.lost.more_restored}
    assert data["data"]["lost"]["omitted"] == omitted
    page = responses.step(report, "markdown").content[0]
    assert isinstance(page, TextContent)
    assert all(f"{count:,} more names" in page.text for count in omitted.values())


@pytest.mark.parametrize("max_output_chars", [1, 100, 300, 8_000])
def test_the_names_that_a_step_bound_are_bounded_and_the_rest_is_counted(max_output_chars: int) -> None:
    """What the step made itself comes before what an import brought by the dozen."""
    brought = tuple(Variable(f"function_{number}", "builtin_function_or_method", None) for number in range(60))
    report = delivered(Outcome("ok", 1, updated=(*brought, Variable("root", "float", None))), max_output_chars)
    names = report.updated_vars_summary
    assert names[0].name == "root"
    assert len(names) <= 40
    assert report.note == f"{61 - len(names)} more names were bound."
    assert len(json.dumps([[name.name, name.type, name.size] for name in names])) <= max(1_000, max_output_chars)


def test_a_message_that_the_kernel_cut_has_one_mark_of_a_cut() -> None:
    """It says the whole length, and what the trace has of it."""
    evalue = "x" * 10_000 + "… [cut: 10,000 of 20,000 characters]"
    report = delivered(Outcome("error", 1, error=StepError("ValueError", evalue, "ValueError: x")))
    assert report.error is not None
    assert report.error.evalue.endswith(
        "x… [cut here, of 20,000 characters; "
        'rlm_get_trace(from_step=1, to_step=1, detail="full") gets the first 10,000]'
    )
    assert report.error.evalue.count("cut") == 1
    assert len(report.error.evalue) == 1_000
    small = delivered(Outcome("error", 1, error=StepError("ValueError", evalue, "")), max_output_chars=100).error
    assert small is not None
    assert small.evalue == "x" * 44 + "…"
