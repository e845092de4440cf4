"""The seller's agent: profile, presence, feed, contracts, and its command line.

This room imports `events`, `links` and `seccomp`.
"""
