"""A process that loads one model and answers over HTTP: `python -m mlflow_amlstore.scoring FOLDER`.

It reads a *served folder* (`deployment.py`) and knows no workspace. `main.py` is its first process, which stays small;
the loader, its child, loads the model once and forks the workers that answer (`workers.py`).
"""
