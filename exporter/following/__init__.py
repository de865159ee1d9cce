"""Who is followed by a stream, who is watched through the list, and how both go on."""
