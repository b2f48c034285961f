"""The record store over SQL, one module per topic."""
