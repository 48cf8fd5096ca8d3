"""Drivers for the stock firmware of Whatsminers: the 4028 API, the 4433 API and what they share."""
