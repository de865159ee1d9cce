"""What the command line offers besides running the exporter, and its flags."""
