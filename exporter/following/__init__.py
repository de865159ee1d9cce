"""Which workflows are followed by a stream, which are watched through the list, and both ways."""
