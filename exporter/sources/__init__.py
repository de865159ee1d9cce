"""Where ids of workflows come from. Nothing here knows of streams."""
