"""Whose calls they are: credentials, where keys are kept, and tokens that are kept alive."""
