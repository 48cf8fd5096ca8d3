"""Simulated Antminers with stock firmware, one module per port."""
