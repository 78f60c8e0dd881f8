"""The work of the command line's own commands, one module each."""
