"""The deadline of a step that runs, where its session's runtime becomes less meanwhile, or more again.

Is: `Running` of `session/account.py`: what the step has used, and its limit by what is left. Is not: the account, or
the wait for the deadline (`run.py`). Above: `session/execution.py`. Below: `run.py`.
"""

from __future__ import annotations

from rlm_kernel_mcp.session.steps.run import NS_PER_MS, RunningStep


class RunningLimit:
    """One step's."""

    def __init__(self, step: RunningStep) -> None:
        self._step = step
        self._own = step.timeout_ms, step.ends_runtime
        """Its limit before its session's children had a part of the runtime."""

    @property
    def elapsed_ms(self) -> int:
        """Time in which it has been executing."""
        return self._step.elapsed_ms

    def limit_again(self, runtime_left_ms: int) -> None:
        """Let it take no longer than that, or than it might at its beginning."""
        step = self._step
        step.timeout_ms, step.ends_runtime = self._own
        step.limit(runtime_left_ms)
        if step.clock is not None:
            step.clock.limit(step.timeout_ms * NS_PER_MS)
        if not step.relimited.done():
            step.relimited.set_result(None)
