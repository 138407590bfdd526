"""``shoestring match``: parses, calls, prints."""

from __future__ import annotations

from shoestring.console import room_app

app = room_app("Match pairs of short texts, plain or pseudonymised, and audit what that is worth.")
