"""The seller's agent: profile, presence, feed, contracts, and its command line.

`main` has the commands, `profile` what the machine offers, `place` the lock of one node, `node` presence
and feed. A `contract` has one link at a time, a `session` is one link with its runs, a `run` is one
program from START to EXIT. This room imports `events`, `links` and `seccomp`.
"""
