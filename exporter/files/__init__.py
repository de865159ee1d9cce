"""Safe access to files: only regular files, limited sizes, no links where others can write."""
