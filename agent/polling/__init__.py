"""Every miner read in time, known by its MAC, and its faults told."""
