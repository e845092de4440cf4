"""`python -m console` is the command `exchange`."""

from console.main import main

if __name__ == "__main__":
    main()
