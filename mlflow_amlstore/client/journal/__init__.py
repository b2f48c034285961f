"""What a workspace has no endpoint or no room for, kept as tags and files of its run."""
