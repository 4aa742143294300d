"""The click commands, and all output to the terminal."""
