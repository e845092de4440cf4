"""The command `exchange`: what an operator types. Looks at Python's version before it imports the rest."""

import sys


def main() -> None:
    """The command line. Exit status 0 done, 1 refused or failed, 2 usage, 130 after Ctrl-C."""
    if sys.version_info < (3, 11):  # noqa: UP036 - it may have been started from a source tree
        sys.exit("error: Python %d.%d is too old; corehour needs 3.11 or later" % sys.version_info[:2])  # noqa: UP031
    from events.interrupts import ends_quietly

    with ends_quietly():
        from typer.main import get_command

        from console.commands import app

        command = get_command(app)  # looks at every command's signature
    command(prog_name="exchange")
