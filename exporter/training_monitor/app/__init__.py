"""The composition root: files, threads and rooms put together."""
