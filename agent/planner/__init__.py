"""Predicted curves to candidates, a plan under the site limits, and recommendations. Pure functions."""
