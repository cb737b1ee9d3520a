"""Finds anomalies in the steps of one run. Pure: steps in, events out."""
