"""Pure functions of tensors and floats: the formulas of the product, each with its citation."""
