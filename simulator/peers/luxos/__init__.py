"""Simulated Antminers with LuxOS, one module per thing the firmware keeps."""
