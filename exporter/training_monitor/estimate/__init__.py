"""Estimates of one run: MFU, time remaining, cost, final loss, goodput. Pure: steps in, numbers out."""
