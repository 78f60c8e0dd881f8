"""The work of the command line's own commands, one module each, above what several of them use."""
