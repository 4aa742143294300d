"""What the tables of a world make possible: rollouts and policies by look-up."""
