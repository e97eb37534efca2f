"""Judges and scorers: reward models, verifiers, functions, simulated annotators."""
