"""A session as a notebook: written from its record, and run again over the same sources."""
