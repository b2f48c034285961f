"""The run records of a workspace: what they are (`types`), what can be done with them (`store`), and where they lie."""
