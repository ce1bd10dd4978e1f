"""`python -m mailnode.cli` is the `mailnode` command."""

from mailnode.cli import main

main()
