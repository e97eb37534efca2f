"""Proof that the trainers reach the optima they claim, through the code that trains models."""
