"""What exitpol does, as functions that return values; who calls them prints."""
