"""Worker processes and what they execute."""
