"""Time on cores that others want as well: ``python -m benchmarks.neighbour``."""
