"""Search on a call budget beside its peers: ``python -m benchmarks.search``."""
