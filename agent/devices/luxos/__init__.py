"""Driver for Antminers that run LuxOS."""
