"""Questions whose answers need all of a text, with exact scores (`bin/bench-dense`, docs/evaluation.md)."""
