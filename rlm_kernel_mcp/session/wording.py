"""How a number and its noun read.

Is: the one place that knows that one document is no "1 documents". Is not: any sentence.
Above: whoever tells a count to a person or a model. Below: nothing.
"""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`1 document`, `2,000 documents`. The noun takes a plain s in the plural."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
