"""`python -m bgtasks` is the command line."""

from bgtasks.cli import main

main()
