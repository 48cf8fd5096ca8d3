"""From what a site knows to recommendations: the planner asked with everything that holds now."""
