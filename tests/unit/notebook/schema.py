"""What a notebook has to be, by nbformat 4.5, as far as it concerns ours; the lab's tests ask nbformat itself.

Is: a schema of our own, which allows no field that nbformat does not know. Is not: nbformat, which is not among what
the fast tests have.
"""

from __future__ import annotations

from typing import Any, Final

import jsonschema

_TEXT: Final = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_COUNT: Final = {"type": ["integer", "null"], "minimum": 0}
_TAGS: Final = {"type": "array", "uniqueItems": True, "items": {"type": "string", "pattern": "^[^,]+$"}}


def _object(required: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": required, "required": list(required), "additionalProperties": False, **more}


_OUTPUTS: Final = [
    _object({"output_type": {"const": "stream"}, "name": {"enum": ["stdout", "stderr"]}, "text": _TEXT}),
    _object(
        {
            "output_type": {"const": "execute_result"},
            "data": {"type": "object", "additionalProperties": _TEXT},
            "metadata": {"type": "object"},
            "execution_count": _COUNT,
        }
    ),
    _object(
        {
            "output_type": {"const": "display_data"},
            "data": {"type": "object", "additionalProperties": _TEXT},
            "metadata": {"type": "object"},
        }
    ),
    _object(
        {
            "output_type": {"const": "error"},
            "ename": {"type": "string"},
            "evalue": {"type": "string"},
            "traceback": {"type": "array", "items": {"type": "string"}},
        }
    ),
]
_METADATA: Final = {"type": "object", "properties": {"tags": _TAGS}}
_ID: Final = {"type": "string", "pattern": "^[a-zA-Z0-9-_]{1,64}$"}
SCHEMA: Final = _object(
    {
        "nbformat": {"const": 4},
        "nbformat_minor": {"const": 5},
        "metadata": {
            "type": "object",
            "required": ["kernelspec", "language_info", "rlm"],
            "properties": {"kernelspec": {"type": "object", "required": ["name", "display_name"]}},
        },
        "cells": {
            "type": "array",
            "items": {
                "anyOf": [
                    _object({"id": _ID, "cell_type": {"const": "markdown"}, "metadata": _METADATA, "source": _TEXT}),
                    _object(
                        {
                            "id": _ID,
                            "cell_type": {"const": "code"},
                            "metadata": _METADATA,
                            "source": _TEXT,
                            "outputs": {"type": "array", "items": {"anyOf": _OUTPUTS}},
                            "execution_count": _COUNT,
                        }
                    ),
                ]
            },
        },
    }
)


def validate(notebook: dict[str, Any]) -> None:
    """Raise jsonschema's ValidationError where it is no notebook; no two cells have one id."""
    jsonschema.validate(notebook, SCHEMA)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that run."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
