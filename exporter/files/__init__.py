"""Files that are read or written with bounds: only regular ones, never through a link."""
