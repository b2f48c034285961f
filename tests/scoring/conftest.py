from scoring_processes import serve

__all__ = ["serve"]
