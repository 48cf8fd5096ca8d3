"""Simulated Antminers with VNish (AnthillOS), one module per thing the firmware keeps."""
