"""Simulated Antminers with Braiins OS 26.04 (REST API 1.10), one module per thing the firmware keeps."""
