"""The command line: arguments in, text or JSON out, exit codes.

Results go to stdout, messages to stderr: `exitpol: error: …`, `exitpol: hint: …`,
`exitpol: warning: …`, `exitpol: …`. With --json, stdout holds exactly one JSON object with
"schema": 1, also after an error. Times are UTC. output.py escapes every control character.

A reader that closes the pipe (`exitpol list | head -1`) is no error: exit code 0. A stdout that is
closed or full is one, because the result is lost: 1, after the command has been carried out. A
closed stdin that is to be read is a usage error: 2. Without stderr, messages are lost and the code
is unchanged. SIGINT ends with 130, SIGTERM with 143, and the message says what state things are in.
"""
