"""Growing needs transformers; the texts that models are asked are short here."""

import pytest

pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def short_texts(monkeypatch):
    from shoestring.grow import certificate

    monkeypatch.setattr(certificate, "MOST_TOKENS", 40)
