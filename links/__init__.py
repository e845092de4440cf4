"""The byte stream between a buyer and a jailed program, over the log's server, never into the log.

This room imports `events` alone.
"""
