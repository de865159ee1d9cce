"""The interfaces between the parts. Read these first: they show what each part gives the others.

`observations`: what was observed and who accepts it; `telemetry`: what the parts that send requests
report about themselves; `views`: what the pages show.
"""
