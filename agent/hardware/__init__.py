"""Hardware profiles: reviewed data about each model, and the bounds made from it."""
