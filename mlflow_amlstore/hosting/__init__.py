"""Endpoints on this machine: what starts the processes that answer, keeps them running, and tells the workspace."""
