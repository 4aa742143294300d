"""One world per file; importing a file registers its world."""
