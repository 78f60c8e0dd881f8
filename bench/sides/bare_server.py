"""The smallest server that the MCP SDK can make: one tool that adds. A program; `initialize` is timed against it."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("bare")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


if __name__ == "__main__":
    server.run("stdio")
