"""The sources of workflow ids. This package knows nothing about streams."""
