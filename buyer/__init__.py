"""The buyer's client: orders, units of work, and its command line.

This room imports `events` and `links`.
"""
