"""Files that exitpol owns: ledger, config, history, observed state, locks, base policies."""
