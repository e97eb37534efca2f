"""Networks: loading, building, heads, adapters, the group forward, generation."""
