"""The operator's command line (`exchange`), and the demonstration.

The only room that knows all the others; it decides nothing.
"""
