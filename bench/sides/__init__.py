"""What is compared: our server, a stock kernel, a bare MCP server, and a fresh interpreter per step."""
