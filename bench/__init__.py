"""The benchmark: every bar, both sides interleaved in one run. A program for people, no part of the package."""
