"""What users read: the catalogue of every metric, and how it is rendered."""
