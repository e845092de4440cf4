"""The seller's agent: profile, presence, feed, contracts, and its command line.

`main` has the commands, `profile` what the machine offers, `trial` tries the jail before anything is
offered, `place` is the lock of one node. `node` is presence and feed, `votes` casts votes, `pages` reads
long answers, `lines` words the log. A `contract` has one link at a time, a `session` is one link with its
runs, a `run` is one program from START to EXIT. This room imports `events`, `links` and `seccomp`.
"""
