"""Per-unit learning: the predicted curves of a fleet, corrected for each unit by its own residuals."""
