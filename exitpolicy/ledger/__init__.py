"""The ledger: what is wanted. Read, changed under a lock, and remembered in the history."""
