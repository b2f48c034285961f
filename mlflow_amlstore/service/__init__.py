"""The workspace service: a record store over HTTP, in MLflow's and Azure ML's own shapes."""
