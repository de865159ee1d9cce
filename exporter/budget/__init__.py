"""The request budget: our policy for the rate limit. Imports no other part of the exporter."""
