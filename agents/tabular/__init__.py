"""Rollouts and policies by look-up in the tables of an enumerated world."""
