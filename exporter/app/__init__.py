"""The life of the process: what is built at the start, what a reload replaces, and how it stops."""
