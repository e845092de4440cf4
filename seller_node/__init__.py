"""The seller's agent: profile, presence, feed, contracts, and its command line.

`main` has the commands, `checking` and `looking` those that only look, `options` what they take, `life` the
process of a node. `offering` is what the machine offers: its `profile`, the jail after a `trial`, and what
`measurement` found; `place` is the lock of one node. `policy` is what the seller allows: `hours`, `idleness`
(of which `watching` takes samples), `bandwidth`. `node` is presence and feed, `selling` the ask, `votes`
casts votes, `lines` words the log. A `contract` has one link at a time, a `session` is one link with its
runs, a `run` is one program from START to EXIT. This room imports `events`, `links` and `seccomp`.
"""
