"""The command `jail`, also as `python -m seccomp`."""

import signal


def main() -> None:
    """The command's entry."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a program runs, Ctrl-C has nothing to tell
    from seccomp.main import main as run

    run()


if __name__ == "__main__":
    main()
