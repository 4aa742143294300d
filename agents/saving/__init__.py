"""Agents and interrupted runs on disk, stored as plain data; nothing here unpickles."""
