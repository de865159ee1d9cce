"""Planted faults, and the command that sees whether the simulation finds them."""
