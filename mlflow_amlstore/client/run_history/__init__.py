"""The records of a workspace behind a service, over Azure ML's run history (azureml-wire.md, section 6)."""
