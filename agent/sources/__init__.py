"""Where prices come from: fetched off the decision path, checked, and kept for the next start."""
