"""One HTTP request, and one call of a service that is retried."""
