"""Benchmarks: layer shapes of known networks, and what measures kernels and models."""
