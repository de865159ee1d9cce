"""What has been counted: pure rules, running totals, and where both are kept."""
