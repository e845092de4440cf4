"""The demonstration, `make demo`: a small market, a real job, and every claim checked against the log.

`__main__` runs it, `scenes` has one function a scene, in order; `stage` is the market with its people,
`chronicle` what the log says, `picture` the photograph and its strips, `proofs` what is checked at the end,
`show` what is printed. `dither.c` and `dither.py` are the buyer's program. Nothing else imports this.
"""
