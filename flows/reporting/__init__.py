"""Statistics, figures and pages from results."""
