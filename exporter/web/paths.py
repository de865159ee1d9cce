"""The paths that several parts of the web side know."""

from typing import Final

API_PREFIX: Final = "/api/"
PUSH_PATH: Final = "/api/v1/workflows"
"""Ids of workflows are pushed to it, and tables of workflows read from it."""
