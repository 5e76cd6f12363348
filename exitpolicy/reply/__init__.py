"""Letters that answer abuse complaints: templates filled with facts that were observed."""
