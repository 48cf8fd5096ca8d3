"""Ways through the coming hours: the best path of each miner, and of all together under the limits."""
