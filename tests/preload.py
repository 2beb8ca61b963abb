"""What the commands import, imported once in the server process that tests/processes.py forks."""

import train.plots
import train.setup  # noqa: F401
