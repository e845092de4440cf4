"""The read side: folds over the journal, each with its cursor and its state in one transaction.

Balances and statements, book depth, machines, contracts, reputation, the feed, and the queries.
All of it can be deleted and rebuilt. This room imports `events` and the folds of `exchange`.
"""
