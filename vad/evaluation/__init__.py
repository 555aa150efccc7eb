"""How good a detector is: metrics, labelled sets, peers to compare with, and the report."""
