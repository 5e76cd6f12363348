"""Exit policies: rules, their meaning, the fewest of them, their limits. Pure."""
