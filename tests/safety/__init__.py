"""Attempts to gain root's rights, to harm a relay and to break a promise, in many variations.

One module for each kind of attack:

- fake_control_port: another user answers at the control port;
- foreign_ledger_folder, swapped_names: another user owns the folder of the ledger;
- foreign_torrc: another user writes a file that Tor reads;
- hostile_relay: the Tor of one relay means harm to the others;
- signalled_processes: another user names the process that gets a signal;
- environment: a program of another user gets root's environment;
- unreadable, owners_and_acls, users_and_mounts: root and Tor see different files;
- unloaded_lines: the torrc holds what a running Tor does not survive;
- middle_relay: a relay is no exit, or is one no more;
- hand_edits: the ledger exceeds the limits;
- clock_steps: the clock is wrong;
- streams_closed: standard streams are closed, full or broken;
- hostile_mails: reading a complaint costs time.

Each test goes through a matrix, counts its cases for the table of scripts/prove, and lists all that
succeeded, not only the first.
"""
