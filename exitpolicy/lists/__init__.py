"""Block lists in the formats of other programs. Pure: no clock, no file.

A reader turns the text of a list into entries (`entry`); `reading` recognises the format and calls
the reader. A writer turns blocks into the text of a list (`writing`).
"""
