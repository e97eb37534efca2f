"""One file per verb: what a stage reads, runs and writes."""
