"""`python -m agent` is the command `hashmargin`."""

from agent.cli import main

main()
