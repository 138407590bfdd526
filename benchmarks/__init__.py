"""One folder per verb, ours beside its peers in the same run: ``python -m benchmarks.<verb>``."""
