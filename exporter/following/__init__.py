"""Follows workflows by streams and through the list, and decides which of them have a stream."""
