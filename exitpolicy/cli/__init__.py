"""The command line: arguments in, text or JSON out, exit codes.

What people asked for goes to stdout, everything else to stderr: `exitpol: error: …`, `exitpol:
hint: …`, `exitpol: warning: …`, `exitpol: …`. With --json, stdout holds exactly one JSON object
with "schema": 1, also when something failed. Times are UTC.
"""
