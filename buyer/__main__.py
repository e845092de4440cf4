"""`python -m buyer`."""

from buyer.main import main

main()
