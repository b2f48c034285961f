"""What both ends of Azure ML's protocol agree on: the client speaks it, the service answers it."""
