"""Logged models of a workspace over the network: asked of its endpoints, or kept in its runs' journals."""
