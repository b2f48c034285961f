"""scikit-learn's check of its input, left out where ours has been made: it is most of what a small prediction takes.

Each step of a model calls `sklearn.utils.validation.validate_data` (since 1.6; before, all is as it was). For the array
that was just checked, it gives back that array. It goes its usual way for whatever isn't plainly the same.
"""

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

# What a step may ask for that an array of finite float64 is already, or that doesn't concern it.
_ANY_VALUE = {
    "accept_sparse",
    "accept_large_sparse",
    "ensure_all_finite",
    "force_all_finite",
    "estimator",
    "input_name",
}
_now = threading.local()


def leave_out() -> None:
    """Replace the check in all of scikit-learn's modules that are loaded."""
    from sklearn.utils import validation  # type: ignore[import-untyped]

    usual = getattr(validation, "validate_data", None)
    if usual is None or getattr(usual, "is_ours", False):
        return
    ours = _quick(usual)
    for name, module in list(sys.modules.items()):
        if name.startswith("sklearn.") and getattr(module, "validate_data", None) is usual:
            module.validate_data = ours  # type: ignore[attr-defined]


def begin() -> None:
    """From here to `end` this thread's arrays have been checked. No context manager: one takes as long as all else."""
    _now.is_checked = True


def end() -> None:
    """What comes is checked by scikit-learn again."""
    _now.is_checked = False


def _quick(usual: Callable[..., Any]) -> Callable[..., Any]:
    def validate_data(_estimator: Any, /, X: Any = "no_validation", y: Any = "no_validation", **asked: Any) -> Any:
        if (
            type(X) is np.ndarray
            and type(y) is str
            and asked.get("reset") is False
            and getattr(_now, "is_checked", False)
            and X.ndim == 2
            and X.dtype == np.float64
            and X.shape[1] == getattr(_estimator, "n_features_in_", -1)
            and "feature_names_in_" not in _estimator.__dict__
            and _are_met(X, asked)
        ):
            return X.copy() if asked.get("copy") else X
        return usual(_estimator, X, y, **asked)

    validate_data.is_ours = True  # type: ignore[attr-defined]
    return validate_data


def _are_met(array: Any, asked: dict[str, Any]) -> bool:
    for name, value in asked.items():
        if name == "dtype":
            types = value if isinstance(value, list | tuple) else (value,)
            if not any(one in (None, "numeric", float, np.float64) for one in types):
                return False
        elif name == "order":
            if value == "F" or (value == "C" and not array.flags.c_contiguous):
                return False
        elif name == "force_writeable":
            if value and not array.flags.writeable:
                return False
        elif name == "ensure_min_samples":
            if len(array) < value:
                return False
        elif name not in _ANY_VALUE and name not in ("reset", "copy") and not (name == "ensure_2d" and value):
            return False
    return True
