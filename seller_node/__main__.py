"""The command `seller_node`, also as `python -m seller_node`."""

from events.interrupts import ends_quietly


def main() -> None:
    """The command's entry."""
    with ends_quietly():
        from seller_node.main import app
    app()


if __name__ == "__main__":
    main()
