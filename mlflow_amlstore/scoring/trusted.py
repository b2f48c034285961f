"""Opening a scikit-learn model's file without running code that is in it.

skops refuses every type that isn't on a list. The list is skops' own and ours below, and never what a model says of
itself: MLflow's `skops_trusted_types` stands in the model's folder, where whoever made the model wrote it. The types of
ours hold numbers that scikit-learn's compiled code goes by without looking, so these are looked at here.
"""

import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow_amlstore.errors import ModelNotLoaded

_DISTANCES = "BrayCurtis Canberra Chebyshev Dice Euclidean Hamming Jaccard Mahalanobis Manhattan Minkowski SEuclidean"
_KERNELS = (
    "CompoundKernel ConstantKernel DotProduct Exponentiation ExpSineSquared Hyperparameter Matern PairwiseKernel "
    "Product RationalQuadratic RBF Sum WhiteKernel"
)
_SPLITS = (
    "GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut LeaveOneOut PredefinedSplit RepeatedKFold "
    "RepeatedStratifiedKFold ShuffleSplit StratifiedGroupKFold StratifiedKFold StratifiedShuffleSplit TimeSeriesSplit"
)
TYPES = frozenset(
    [
        "collections.OrderedDict",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        *(f"sklearn.neighbors.{module}" for module in ("_kd_tree.KDTree", "_ball_tree.BallTree")),
        *(f"sklearn.neighbors._kd_tree.KDTree{bits}" for bits in (32, 64)),
        *(f"sklearn.neighbors._ball_tree.BallTree{bits}" for bits in (32, 64)),
        *(
            f"sklearn.metrics._dist_metrics.{name}Distance{bits}"
            for name in _DISTANCES.split()
            for bits in ("", 32, 64)
        ),
        *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS.split()),
        *(f"sklearn.model_selection._split.{name}" for name in _SPLITS.split()),
    ]
)
"""Types of scikit-learn's that models have, beyond those that skops trusts: they run no code when they are made."""
_FOR_TESTS = ("torch", "cupy", "dask", "jax", "pytest", "_pytest", "matplotlib")
ALLOW = "deploy it with --allow-pickle if you trust who made it"


def load(path: Path, *, allow_pickle: bool) -> Any:
    """The object in a file of skops, pickle, cloudpickle or joblib. Raises ModelNotLoaded where it isn't trusted."""
    if zipfile.is_zipfile(path):
        return _load_skops(path, allow_pickle=allow_pickle)
    if not allow_pickle:
        rule = f"{path.name} is a pickle, and loading one runs code that is in it; save it with skops, or {ALLOW}"
        raise ModelNotLoaded("PickleNotAllowed", rule)
    import joblib  # type: ignore[import-untyped]

    return joblib.load(path)


def _load_skops(path: Path, *, allow_pickle: bool) -> Any:
    try:
        with _without_what_tests_need():
            import skops.io  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        if error.name != "skops":
            raise
        raise ModelNotLoaded("PackageMissing", f"{path.name} is a file of skops, which isn't installed") from error
    asked = skops.io.get_untrusted_types(file=path)
    if (foreign := [name for name in asked if name not in TYPES]) and not allow_pickle:
        rule = f"{path.name} has types that aren't known to be harmless: {', '.join(foreign[:10])}; {ALLOW}"
        raise ModelNotLoaded("TypesNotTrusted", rule)
    model = skops.io.load(path, trusted=asked)
    if not allow_pickle:
        for part in parts(model):
            _look_at(part, path.name)
    return model


@contextmanager
def _without_what_tests_need() -> Iterator[None]:
    """skops imports all of scikit-learn, whose tests and adapters import PyTorch where it is: 200 MB, for nothing."""
    kept_out = [name for name in _FOR_TESTS if name not in sys.modules]
    for name in kept_out:
        sys.modules[name] = None  # type: ignore[assignment]  # so that importing it fails as if it weren't installed
    try:
        yield
    finally:
        for name in kept_out:
            del sys.modules[name]


def parts(model: Any) -> Iterator[Any]:
    """A model and all objects that it is made of, but for plain values and the items of arrays of numbers."""
    seen: set[int] = set()
    ahead = [model]
    while ahead:
        one = ahead.pop()
        if id(one) in seen or isinstance(one, str | bytes | int | float | type(None)):
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, dict):
            ahead += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            ahead += one
        elif type(one).__name__ == "ndarray":
            if one.dtype == object:
                ahead += one.ravel().tolist()
        elif not isinstance(one, type) and hasattr(one, "__dict__"):
            ahead += vars(one).values()


def _look_at(part: Any, file: str) -> None:
    """Refuse a tree whose nodes point outside of it: it would be followed there."""
    kind = type(part).__name__
    if kind == "Tree" and type(part).__module__ == "sklearn.tree._tree":
        is_leaf = part.children_left == -1
        good = _within(part.children_left[~is_leaf], part.node_count) and _within(
            part.children_right[~is_leaf], part.node_count
        )
        good = good and _within(part.feature[~is_leaf], part.n_features) and _go_down(part, is_leaf)
    elif kind == "TreePredictor":
        nodes = part.nodes
        inner = nodes[nodes["is_leaf"] == 0]
        good = _within(inner["left"], len(nodes)) and _within(inner["right"], len(nodes))
        good = good and _within(nodes["bitset_idx"][nodes["is_categorical"] != 0], len(part.raw_left_cat_bitsets))
    elif kind.startswith("HistGradientBoosting"):
        predictors = [one for some in part._predictors for one in some]
        good = all(_within(one.nodes["feature_idx"], part.n_features_in_) for one in predictors)
    elif kind.startswith(("KDTree", "BallTree")):
        data, index, nodes, _ = part.get_arrays()
        good = _within(index, len(data)) and _within(nodes["idx_start"], len(data) + 1)
        good = good and _within(nodes["idx_end"], len(data) + 1)
    else:
        return
    if not good:
        raise ModelNotLoaded("FileDamaged", f"{file} has a {kind} whose nodes point outside of it")


def _within(places: Any, count: int) -> bool:
    return not len(places) or (int(places.min()) >= 0 and int(places.max()) < count)


def _go_down(tree: Any, is_leaf: Any) -> bool:
    """Whether children come after their parents, so that following them ends."""
    parents = (~is_leaf).nonzero()[0]
    return bool((tree.children_left[parents] > parents).all() and (tree.children_right[parents] > parents).all())
