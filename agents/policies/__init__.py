"""Policies made of blocks."""
