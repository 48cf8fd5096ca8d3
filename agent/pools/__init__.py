"""Pools: read, compared with the trusted list, written inside it."""
