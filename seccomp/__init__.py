"""The jail and its runtimes: runs one program of a stranger so that nothing can happen.

A library of its own that knows no market and imports nothing of ours.
"""
