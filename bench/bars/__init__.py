"""The bars, by subject; `PARTS` in `bench/__main__.py` names them."""
