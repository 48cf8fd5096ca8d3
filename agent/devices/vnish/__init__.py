"""VNish on Antminers, over its REST interface."""
