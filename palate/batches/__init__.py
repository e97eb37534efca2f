"""Token-level data: what groups look like as ids and tensors."""
