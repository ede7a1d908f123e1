"""How much a server takes: pods one after the other by the thousand, and a start on a node that is full.

    python -m e2e.load cycles --pods 2000
    python -m e2e.load startup --pods 150 --containers 350

Figures as JSON. Both run on a node of their own and leave nothing.
"""
