"""Benchmarks of ``shoestring tune``."""
