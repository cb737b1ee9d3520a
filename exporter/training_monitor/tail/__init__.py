"""Finds logs and reads the bytes that nobody has read yet, through rotation, truncation and restarts."""
