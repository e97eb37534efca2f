"""Evaluation: win rates, reward-model accuracy and calibration, how policies write, the report."""
