"""The hashmargin agent: polls the miners of one site, decides, acts and reports.

It imports none of the trainer, the dashboard or the simulator; they may import it.
"""

__version__ = "0.1.0"
