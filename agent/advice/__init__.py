"""Advice to people: change coin, change pool, repair a unit. Nothing here is ever sent to a miner."""
