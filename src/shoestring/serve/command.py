"""``shoestring serve``, the one command of its room: parses, calls, prints."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from shoestring.console import echo
from shoestring.errors import ParameterError

LOOPBACK = ["127.0.0.1", "localhost", "::1"]


def serve(
    index: Annotated[Path | None, typer.Argument(help="Folder of an index.")] = None,
    scorer: Annotated[str | None, typer.Option(help="As for search build.")] = None,
    classifier: Annotated[Path | None, typer.Option(help="Folder of a classifier.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port.")] = 8321,
    api_key_file: Annotated[Path | None, typer.Option(help="API keys, one on each line.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Need no key on any host.")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="Serve your Python's docs.")] = False,
    mcp: Annotated[bool, typer.Option("--mcp", help="Serve MCP over standard input.")] = False,
) -> None:
    """Serve an index over HTTP with a page, or as tools of the Model Context Protocol."""
    keys = [] if api_key_file is None else _keys(api_key_file)
    is_here = host in LOOPBACK
    if not (keys or insecure or mcp or is_here):
        raise ParameterError(
            f"--host {host} can be reached from other machines: pass --api-key-file FILE, or "
            "--insecure if nobody else can reach it."
        )
    if (demo and index) or not (demo or index or scorer or classifier):
        raise ParameterError("Name an index or --demo; or --scorer, to rerank without an index.")
    from shoestring.classify import TextClassifier
    from shoestring.search import SearchIndex
    from shoestring.serve.app import create_app
    from shoestring.serve.service import Service, serve_tools

    with tempfile.TemporaryDirectory(prefix="shoestring-serve-") as folder:
        opened = SearchIndex.open(index) if index else None
        if demo:
            from shoestring.text import python_docs

            scorer = scorer or "minilm-weighted"
            opened = SearchIndex.build(folder, list(python_docs()), scorer=scorer, encoder="lsa")
        learned = TextClassifier.load(classifier) if classifier else None
        service = Service(opened, None if demo else scorer, learned)
        if mcp:
            serve_tools(service)
            return
        app = create_app(service, keys, LOOPBACK if is_here else ["*"])
        echo(f"http://{f'[{host}]' if ':' in host else host}:{port}  (Ctrl-C ends it)", err=True)
        import uvicorn

        uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)


def _keys(file: Path) -> list[str]:
    keys = file.read_text(encoding="utf-8", errors="replace").split()
    if not keys or any(len(key) < 16 for key in keys):
        raise ParameterError(
            f"{file} must have keys of at least 16 characters. Make one: "
            "python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return keys
