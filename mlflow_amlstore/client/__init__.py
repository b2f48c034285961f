"""The client of a workspace that is elsewhere: behind a service, or Azure ML itself."""
