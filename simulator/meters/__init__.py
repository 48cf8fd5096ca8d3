"""Simulated power meters: what a PDU or a circuit meter would answer about simulated machines."""
