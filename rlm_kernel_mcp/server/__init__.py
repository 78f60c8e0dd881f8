"""The MCP face: tools, requests, responses. The only room that imports `mcp`."""
