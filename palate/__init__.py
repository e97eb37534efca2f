"""palate: the whole RLHF loop as one tool, from demonstrations to an aligned model and its report."""

__version__ = "0.1.0"
