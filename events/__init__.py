"""The vocabulary of the market: requests, events, commits, and their way over NATS.

What lives here: the typed records with their wire form, the subjects, the commit with its chain,
signatures, and the adapter to NATS.
What may not: anything that decides, folds or shows. This room imports none of the others.
"""
