"""Miners that speak the real protocols over sockets, and the physics behind them."""
