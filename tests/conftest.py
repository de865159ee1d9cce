"""What holds for every test."""

from hypothesis import settings

# How long an example takes says nothing on a machine with other work: no deadline, anywhere.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
