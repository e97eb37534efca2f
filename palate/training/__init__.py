"""The two loops of the product, over fixed data and over sampled data, and what they need."""
