"""Simulated Whatsminers, one module per API."""
