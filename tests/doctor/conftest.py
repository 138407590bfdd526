"""What is measured needs transformers."""

import pytest

pytest.importorskip("transformers")
