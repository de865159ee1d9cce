"""Counts of things in plain text."""


def counted(count: int, one: str, many: str = "") -> str:
    """`1 stream`, `2 streams`, `1,000 streams`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
