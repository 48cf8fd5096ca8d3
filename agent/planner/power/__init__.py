"""How the miners of a site share its power: limits as a tree of nodes, and who takes what at one step."""
