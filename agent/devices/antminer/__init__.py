"""Drivers for the stock firmware of Antminers."""
