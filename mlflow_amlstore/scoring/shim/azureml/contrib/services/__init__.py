"""Raw HTTP for scoring scripts."""
