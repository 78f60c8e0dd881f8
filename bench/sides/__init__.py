"""What is compared: our server, a stock kernel, a bare MCP server, a fresh interpreter a step."""
