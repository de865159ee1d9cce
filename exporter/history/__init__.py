"""What has happened to each workflow, and how the accounts are: for people and programs to read."""
