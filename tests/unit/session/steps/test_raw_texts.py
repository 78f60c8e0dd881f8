"""What a program gets of a step's texts: as they came, and no more than what is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.session.reports import StepError
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.steps.raw_texts import TEXTS, raw_cuts

texts = st.text(alphabet=st.sampled_from("ab\x1b\u202e\n"), max_size=30)


@given(stdout=texts, stderr=texts, result=texts, evalue=texts, limit=st.integers(0, 100))
def test_texts_are_prefixes_within_the_limit_and_whole_where_there_is_room(
    stdout: str, stderr: str, result: str, evalue: str, limit: int
) -> None:
    """Nothing is escaped; what is cut is counted, and each stream has what was told of it before the end."""
    outcome = Outcome("error", 1, stdout=stdout, stderr=stderr, result=result, error=StepError("E", evalue, "t"))
    ename, cuts = raw_cuts(outcome, limit)
    whole = {"stdout": stdout, "stderr": stderr, "result": result, "evalue": evalue, "traceback": "t"}
    assert len(ename) + sum(len(cut.text) for cut in cuts.values()) <= limit
    for name, text in whole.items():
        assert text.startswith(cuts[name].text)
        assert len(cuts[name].text) + cuts[name].cut_chars == len(text)
        assert cuts[name].says_where == (cuts[name].text == text)
        assert len(cuts[name].text) >= min(len(text), limit // TEXTS)
    if limit >= 1 + sum(map(len, whole.values())):
        assert {name: cut.text for name, cut in cuts.items()} == whole
