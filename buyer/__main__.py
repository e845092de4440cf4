"""The command `buyer`, also as `python -m buyer`."""

from events.interrupts import ends_quietly


def main() -> None:
    """The command's entry."""
    with ends_quietly():
        from buyer.main import app
    app()


if __name__ == "__main__":
    main()
