"""The text of documents from the bytes that a kernel is given.

Is: that, with as few copies as there can be. Is not: how an encoding is told (`both_sides/text_encoding.py`). Above:
`in_kernel/ipython/control.py`. Below: the documents' rows (`context_wire.py`).
"""

from __future__ import annotations

from rlm_kernel_mcp.context_wire import DocumentRow


def decode(documents: list[DocumentRow], raw: memoryview) -> tuple[str, list[int]]:
    """The whole text and each document's length in characters.

    Valid UTF-8 is decoded in one piece, without a second copy.
    """
    is_utf_8 = all(encoding == "utf-8" and errors == "strict" for _, _, encoding, errors in documents)
    text = str(raw, "utf-8", "strict") if is_utf_8 else ""
    if is_utf_8 and len(text) == len(raw):
        return text, [size for _, size, _, _ in documents]
    blocks = []
    start = 0
    for _, size, encoding, errors in documents:
        blocks.append((raw[start : start + size], encoding, errors))
        start += size
    if len(blocks) == 1:
        text = text or str(*blocks[0])
        return text, [len(text)]
    if is_utf_8:
        return text, [len(str(*block)) for block in blocks]
    texts = [str(*block) for block in blocks]
    return "".join(texts), [len(text) for text in texts]
