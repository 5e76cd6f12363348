"""Attempts to gain root's rights, to harm a relay and to break a promise, in many variations.

One module for each kind of attack. Each test goes through a matrix, counts its cases for the table
of scripts/prove, and lists all that succeeded, not only the first.
"""
