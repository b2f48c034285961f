"""What scoring scripts import of Azure ML's inference server."""
