"""The MCP face: tools, requests, responses. The only part that imports `mcp`."""
