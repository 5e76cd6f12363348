"""Core: destinations, blocks, durations, the clock and errors. Pure: no file, socket or clock."""
