"""Bytes of one source to records: one file per format, one line each in `registry`."""
