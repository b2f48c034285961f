"""`azureml.widgets`: a run in a notebook, as it is at that moment."""

import sys
from importlib import import_module

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.core import Run

__all__ = ["RunDetails"]

__getattr__ = names_the_missing_of(__name__)


class RunDetails:
    """A run to be shown."""

    def __init__(self, run_instance: Run) -> None:
        self._run = run_instance

    def show(self, render_lib: object = None, widget_settings: object = None) -> None:
        """Show the run: in a notebook as a table, elsewhere as text. It isn't updated yet; the arguments are taken for
        old scripts' sake."""
        if "IPython" in sys.modules:
            import_module("IPython.display").display(self._run)
        else:
            sys.stdout.write(f"{self._run!r}\n")

    def get_widget_data(self, widget_settings: object = None) -> dict[str, object]:
        """Return what is known of the run: `run.get_details()`."""
        return self._run.get_details()
