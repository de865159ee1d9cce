"""The life of the process: what is built at the start, what a reload swaps, and how it ends."""
