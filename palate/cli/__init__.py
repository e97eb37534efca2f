"""`palate <verb>`: parse, call a stage, print. Nothing here imports torch before a verb runs."""
