"""Compression: calibration, quantization, pruning, and the recipes that combine them."""
