"""click commands; the only place that prints."""
