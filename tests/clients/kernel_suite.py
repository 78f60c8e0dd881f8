"""The ecosystem's own suite of a kernel, with every sample that it has room for: it runs in the lab's environment.

    .venv-lab/bin/python tests/clients/kernel_suite.py rlm-python      # or python3, the control

A test for which no sample is given counts itself as skipped and the run as good; here none is. Above:
`test_kernel_suite.py`, which starts it. Source: jupyter_kernel_test.
"""

from __future__ import annotations

import sys
import unittest
from typing import Final

from jupyter_kernel_test import IopubWelcomeTests, KernelTests  # type: ignore[import-not-found]  # of the lab's

STOCK: Final = "python3"
RANGE_OF_STOCK: Final = "History range not supported"
"""ipykernel calls its own session 0 in each range, whatever number was asked for; the suite wants that number back."""


class SuiteOfKernel(KernelTests):  # type: ignore[misc]  # the suite is in another environment
    """Samples for a Python kernel, the stock one as well as ours."""

    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import warnings; warnings.warn('on stderr')"
    completion_samples = (
        {"text": "zi", "matches": {"zip"}},
        {"text": "str.isal", "matches": {"isalnum", "isalpha"}},
        {"text": "no_such_name_anywhere", "matches": set()},
    )
    complete_code_samples = ("1", "print('hello, world')", "def f(x):\n    return x * 2\n\n", "%time 1", "zip?")
    incomplete_code_samples = ("for i in range(3):", "print('''hello", "def f(x):", "x = (1,")
    invalid_code_samples = ("import = 7q", "raise = 2", "for")
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('as it should')"
    code_execute_result = (
        {"code": "1 + 2 + 3", "result": "6"},
        {"code": "[n * n for n in range(1, 4)]", "result": "[1, 4, 9]"},
        {
            "code": "type('H', (), {'_repr_html_': lambda self: '<b>h</b>'})()",
            "mime": "text/html",
            "result": "<b>h</b>",
        },
        {"code": "type('L', (), {'_repr_latex_': lambda self: '$l$'})()", "mime": "text/latex", "result": "$l$"},
    )
    code_display_data = (
        {"code": "display({'text/html': '<b>h</b>'}, raw=True)", "mime": "text/html"},
        {"code": "display({'text/markdown': '*m*'}, raw=True)", "mime": "text/markdown"},
        {"code": "display({'image/svg+xml': '<svg></svg>'}, raw=True)", "mime": "image/svg+xml"},
        {"code": "display({'image/png': 'iVBORw0KGgo='}, raw=True)", "mime": "image/png"},
        {"code": "display({'application/json': {'a': 1}}, raw=True)", "mime": "application/json"},
        {"code": "display(7)", "mime": "text/plain"},
    )
    code_history_pattern = "1 +*"
    supported_history_operations: tuple[str, ...] = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


class WelcomeOfKernel(IopubWelcomeTests):  # type: ignore[misc]
    """Whoever subscribes is told so."""

    support_iopub_welcome = True


def main(kernel_name: str) -> int:
    """Run the suite against an installed kernel; the exit status is 0 if each of its tests ran and passed."""
    SuiteOfKernel.kernel_name = WelcomeOfKernel.kernel_name = kernel_name
    if kernel_name == STOCK:
        SuiteOfKernel.supported_history_operations = ("tail", "search")
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    suite = unittest.TestSuite([load(SuiteOfKernel), load(WelcomeOfKernel)])
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    skipped = [reason for _, reason in result.skipped]
    print(f"ran {result.testsRun}, skipped {skipped}")
    return 0 if result.wasSuccessful() and skipped == [RANGE_OF_STOCK] * (kernel_name == STOCK) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
