"""A locked-down IPython kernel per session, served to coding agents over MCP.

Imports nothing: the kernel process imports this package too.
"""

__version__ = "0.1.0"
