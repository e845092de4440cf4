"""The hostile suite: programs of strangers that try what they must not have.

`table.py` says what there is: native ones are functions of the C files, malformed executables are made by
`executables.py`, Python ones are in `pythons.py`. `play.py` runs them all in the jail, and outside of it as a
control; `report.py` writes the table in docs/security.md. Needs nothing but the standard library and
`seccomp`, so that any Python may run it, as any user.
"""
