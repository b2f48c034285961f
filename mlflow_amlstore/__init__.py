"""An MLflow plugin and the workspace behind it: embedded, self-hosted or Azure ML.

Importing this package loads nothing heavy; the public SDK is `mlflow_amlstore.core`.
"""

__version__ = "0.1.0"
