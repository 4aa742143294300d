"""One world a file; a file registers what it defines."""
