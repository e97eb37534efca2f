"""Objectives: each is a prepare() without gradient and a loss() with; formulas live in maths."""
