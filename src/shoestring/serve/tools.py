"""Search and rerank as tools of the Model Context Protocol (MCP), with the official package."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from shoestring.errors import MissingExtraError, ShoestringError
from shoestring.serve.service import Answer, Service, notes_to_requests

DEADLINE_S = 60.0


def serve_tools(service: Service) -> None:
    """Serve over standard input and output until they are closed."""
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError:
        raise MissingExtraError("mcp", extra="serve", purpose="--mcp") from None

    def answer(call: Callable[..., Answer], *given: Any) -> Answer:
        try:
            return call(*given, until=time.monotonic() + DEADLINE_S)
        except ShoestringError as error:
            raise ToolError(str(error)) from error

    def search(query: str, k: int = 10, calls: int = 50, where: str | None = None) -> Answer:
        """Search the index: the texts that an expensive scorer would rank first.

        `calls` is how often the scorer is asked at most; `where` is a condition on the fields, such
        as: lang = 'de' and year >= 2020
        """
        return answer(service.search, query, k, calls, where)

    def rerank(query: str, documents: list[str], calls: int = 60, top_n: int = 10) -> Answer:
        """Rank texts by how well they answer a query; `corpus_id` is a text's position."""
        return answer(service.rerank, query, documents, calls, top_n)

    server: Any = MCPServer("shoestring", log_level="WARNING")
    for tool in (search, rerank):
        server.tool()(tool)
    with notes_to_requests():
        server.run("stdio")
