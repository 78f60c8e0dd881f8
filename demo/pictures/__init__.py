"""The pictures of the README, made of the real programs by `bin/screenshots`."""
