"""The flags and subcommands of the command line."""
