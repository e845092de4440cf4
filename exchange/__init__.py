"""The market: book, ledger, contracts, clock, and the service that runs them.

`engine` decides and folds: no I/O, no clock, no random number, no float. `service` feeds it from
INTAKE and appends to JOURNAL. This room imports `events` alone.
"""
