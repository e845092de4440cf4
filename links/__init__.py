"""The byte stream between a buyer and a jailed program, over the log's server, never into the log.

`frames` is the wire form, `link` one contract's stream, `endpoint` the place where an account's links
arrive. Plain NATS messages get lost and slow readers lose them first; acknowledgements, a window and
resending make a link whole and bounded. This room imports `events` alone.
"""
