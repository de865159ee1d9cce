"""The interfaces between the parts. Read these first: who tells whom what.

What was observed and who takes it (`observations`), what those who ask tell of themselves
(`telemetry`), and what the pages show (`views`).
"""
