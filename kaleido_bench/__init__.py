"""kaleido-bench: frozen protocols, named metric conventions, and results that can be checked."""

__version__ = "0.1.0"
