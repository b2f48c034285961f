"""What a submitted script needs on the machine that it runs on. Its modules load the standard library alone."""
