"""Agents and interrupted runs on disk, as data: nothing here unpickles."""
