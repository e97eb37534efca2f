"""palate: the whole RLHF loop as one tool, from demonstrations to an aligned model."""

__version__ = "0.1.0"
