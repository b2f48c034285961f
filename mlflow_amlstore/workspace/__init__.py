"""Finding and opening a workspace: config.json, tracking URIs, artifact URIs, and the store behind them."""
