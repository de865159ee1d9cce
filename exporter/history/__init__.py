"""The history of each workflow and the state of the accounts, for people and programs to read."""
