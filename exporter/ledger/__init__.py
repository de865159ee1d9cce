"""What has been counted: pure rules, running totals, and the stores of both."""
