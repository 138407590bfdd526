"""Search, rerank and classify over HTTP, with a page, and as tools of MCP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shoestring.lazy import lazy_names

if TYPE_CHECKING:
    from shoestring.serve.app import create_app as create_app
    from shoestring.serve.service import Service as Service

__getattr__, __dir__, __all__ = lazy_names(__name__)
