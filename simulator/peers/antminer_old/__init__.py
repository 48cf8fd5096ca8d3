"""Simulated Antminers of the S9 and S17 generations with their stock firmware: 4028, web page and SSH.

One configuration, kept as files, is behind all three; the mining process reads it when it starts.
"""
