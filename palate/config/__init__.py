"""One frozen schema: recipes, overrides, help, printed configs and docs all come from it."""
