"""Search and rerank as tools of MCP: the real client speaks to the command over stdio."""

import asyncio
import json
import sys

import pytest

mcp = pytest.importorskip("mcp", reason="needs the extra serve")

from tests.serve.conftest import RECORDS  # noqa: E402

from shoestring import SearchIndex  # noqa: E402


def test_a_client_finds_the_tools_and_uses_them(tmp_path):
    from mcp.client.stdio import stdio_client

    SearchIndex.build(tmp_path / "i", RECORDS, scorer=None, encoder="lsa", progress=False)
    command = ["-m", "shoestring.cli", "serve", str(tmp_path / "i"), "--mcp"]

    async def speak():
        server = mcp.StdioServerParameters(command=sys.executable, args=command, env=environment())
        async with stdio_client(server) as streams, mcp.ClientSession(*streams) as session:
            await session.initialize()
            names = {tool.name for tool in (await session.list_tools()).tools}
            asked = {"query": "红色的鞋", "k": 1, "where": "lang = 'zh'"}
            found = await session.call_tool("search", asked)
            failed = await session.call_tool("rerank", {"query": "a", "documents": ["b"]})
            return names, json.loads(found.content[0].text), failed

    names, found, failed = asyncio.run(speak())
    assert names == {"search", "rerank"}
    assert found["hits"][0]["id"] == "d"
    assert "--scorer" in failed.content[0].text


def environment():
    import os

    return {**os.environ, "OMP_NUM_THREADS": "1"}
