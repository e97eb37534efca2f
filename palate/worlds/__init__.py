"""Small worlds with a known taste, so that the whole loop can be run, measured and tested."""
