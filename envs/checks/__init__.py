"""What a valid environment promises."""
