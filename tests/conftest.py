"""Settings of the whole suite: the same examples every time."""

from hypothesis import settings

settings.register_profile("hashmargin", derandomize=True, deadline=None, database=None)
settings.load_profile("hashmargin")
