"""`python -m seller_node`."""

from seller_node.main import main

main()
