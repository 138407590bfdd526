"""Search and rerank as tools of the Model Context Protocol (MCP), with the official package."""

from __future__ import annotations

import time
from functools import wraps
from typing import Any

from shoestring.errors import ShoestringError
from shoestring.lazy import require
from shoestring.serve.scorer_queue import Asked, asked
from shoestring.serve.service import Service, notes_to_requests

DEADLINE_S = 60.0


def serve_tools(service: Service) -> None:
    """Serve over standard input and output until they are closed."""
    require("The server", "serve", "mcp")
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    server: Any = MCPServer("shoestring", log_level="WARNING")
    for call in (service.search, service.rerank):

        @server.tool()
        @wraps(call)
        def answer(*given: Any, call: Any = call, **named: Any) -> Any:
            asked.set(Asked(time.monotonic() + DEADLINE_S))
            try:
                return call(*given, **named)
            except ShoestringError as error:
                raise ToolError(str(error)) from error

    with notes_to_requests():
        server.run("stdio")
