"""Grading of mathematical answers: what a text answers, what that means, and a process for it."""
