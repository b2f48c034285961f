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

_DISTANCES = "BrayCurtis Canberra Chebyshev Dice Euclidean Hamming Jaccard Manhattan Minkowski"  # without own arrays
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
    """Refuse what scikit-learn's and SciPy's compiled code would follow outside of its arrays, or for ever."""
    if not type(part).__module__.startswith(("sklearn.", "scipy.sparse")):
        return
    try:
        good = _is_sound(part)
    except (AttributeError, TypeError, ValueError, KeyError, IndexError) as error:
        rule = f"{file} has a {type(part).__name__} that isn't as scikit-learn makes it: {error}"
        raise ModelNotLoaded("FileDamaged", rule) from error
    if not good:
        rule = (
            f"{file} has a {type(part).__name__} whose arrays don't fit each other: some point outside of it; {ALLOW}"
        )
        raise ModelNotLoaded("FileDamaged", rule)


def _is_sound(part: Any) -> bool:
    kind, module = type(part).__name__, type(part).__module__
    if module.startswith("scipy.sparse"):
        if hasattr(part, "check_format"):
            part.check_format(full_check=True)  # raises ValueError
        return hasattr(part, "check_format")
    if kind == "Tree" and module == "sklearn.tree._tree":
        return _is_a_tree(part)
    if kind == "TreePredictor":
        nodes = part.nodes
        inner = nodes[nodes["is_leaf"] == 0]
        places = (nodes["is_leaf"] == 0).nonzero()[0]
        return (
            len(nodes) > 0
            and all(_within(inner[side], len(nodes)) and (inner[side] > places).all() for side in ("left", "right"))
            and _within(nodes["bitset_idx"][nodes["is_categorical"] != 0], len(part.raw_left_cat_bitsets))
            and part.raw_left_cat_bitsets.shape[1:] == (8,)
        )
    if kind.startswith("HistGradientBoosting"):
        width = part.n_features_in_
        predictors = [one for some in part._predictors for one in some]
        categorical = part._bin_mapper.is_categorical_
        return (
            all(type(one).__name__ == "TreePredictor" for one in predictors)
            and all(_within(one.nodes["feature_idx"][one.nodes["is_leaf"] == 0], width) for one in predictors)
            and all(len(some) == part.n_trees_per_iteration_ for some in part._predictors)
            and (categorical is None or len(categorical) == width)
        )
    if kind.startswith(("KDTree", "BallTree")):
        return _is_a_space_tree(part)
    if module.startswith("sklearn.tree._classes"):
        return not hasattr(part, "tree_") or _fits_its_tree(part, part.n_features_in_)
    if module.startswith("sklearn.ensemble._"):
        return _is_an_ensemble(part)
    if module == "sklearn.svm._classes" and hasattr(part, "support_vectors_"):
        return _is_a_support_vector_machine(part)
    if module.startswith("sklearn.neighbors._") and hasattr(part, "_fit_X"):
        return _is_a_neighbour(part)
    centers = getattr(part, "cluster_centers_", None)
    if centers is not None and hasattr(part, "n_features_in_"):
        return bool(centers.ndim == 2 and len(centers) and centers.shape[1] == part.n_features_in_)
    return True


def _is_a_tree(tree: Any) -> bool:
    """Whether children are in the tree and come after their parents, so that following them ends."""
    count = tree.node_count
    left, right = tree.children_left, tree.children_right
    if not count or not len(left) == len(right) == len(tree.feature) == count:
        return False
    parents = (left != -1).nonzero()[0]
    return bool(
        _within(left[parents], count)
        and _within(right[parents], count)
        and _within(tree.feature[parents], tree.n_features)
        and (left[parents] > parents).all()
        and (right[parents] > parents).all()
    )


def _fits_its_tree(estimator: Any, width: int) -> bool:
    """Whether the rows that an estimator gives its tree, `width` numbers each, are those that the tree goes by."""
    return type(estimator.tree_).__name__ == "Tree" and estimator.tree_.n_features == width == estimator.n_features_in_


def _is_an_ensemble(part: Any) -> bool:
    """An ensemble gives its rows to its trees unseen, and gradient boosting its results to them, too."""
    estimators = getattr(part, "estimators_", None)
    if estimators is None:
        return True
    flat = estimators.ravel() if hasattr(estimators, "ravel") else estimators
    trees = [one for one in flat if hasattr(one, "tree_")]
    chosen = getattr(part, "estimators_features_", None)
    if chosen is not None:
        fit = all(len(some) == one.n_features_in_ for some, one in zip(chosen, estimators, strict=True))
        return fit and all(_within(some, part.n_features_in_) for some in chosen)
    if not all(_fits_its_tree(one, part.n_features_in_) for one in trees):
        return False
    if not type(part).__name__.startswith("GradientBoosting"):
        return True
    outputs = estimators.shape[1]
    rightful = len(part.classes_) if len(getattr(part, "classes_", ())) > 2 else 1
    first = type(part.init_)
    is_known = part.init_ == "zero" if isinstance(part.init_, str) else first.__module__ == "sklearn.dummy"
    if not is_known or len(trees) != estimators.size or outputs != rightful:
        return False
    if (
        not all(one.tree_.n_outputs == 1 for one in trees)
        or getattr(part, "n_trees_per_iteration_", outputs) != outputs
    ):
        return False
    import numpy as np

    return bool(part._raw_predict_init(np.zeros((1, part.n_features_in_), np.float32)).shape == (1, outputs))


def _is_a_space_tree(tree: Any) -> bool:
    data, index, nodes, bounds = tree.get_arrays()
    inner = (nodes["is_leaf"] == 0).nonzero()[0]
    return bool(
        len(nodes)
        and len(index) == len(data)
        and _within(index, len(data))
        and _within(nodes["idx_start"], len(data) + 1)
        and _within(nodes["idx_end"], len(data) + 1)
        and (nodes["idx_start"] <= nodes["idx_end"]).all()
        and (not len(inner) or 2 * int(inner.max()) + 2 < len(nodes))
        and bounds.shape[1:] == (len(nodes), data.shape[1])
    )


def _is_a_neighbour(part: Any) -> bool:
    rows, width = part._fit_X.shape
    tree, classes = getattr(part, "_tree", None), getattr(part, "classes_", None)
    if width != part.n_features_in_ or not rows:
        return False
    if tree is not None and tree.get_arrays()[0].shape != (rows, width):
        return False
    if classes is None:
        return not hasattr(part, "_y") or len(part._y) == rows
    columns = part._y.reshape(rows, -1)
    each = classes if isinstance(classes, list) else [classes]
    return columns.shape[1] == len(each) and all(_within(columns[:, n], len(one)) for n, one in enumerate(each))


def _is_a_support_vector_machine(part: Any) -> bool:
    """libsvm goes by counts and believes them."""
    vectors, counts = part.support_vectors_, part._n_support
    if part._sparse or not isinstance(part.kernel, str) or part.kernel == "precomputed":
        return False
    kinds = len(part.classes_) if hasattr(part, "classes_") else 2
    pairs = kinds * (kinds - 1) // 2
    has_probabilities = part._probA.size > 0
    return bool(
        vectors.ndim == 2
        and vectors.shape == (len(part.support_), part.n_features_in_)
        and kinds >= 2
        and (counts >= 0).all()
        and (not hasattr(part, "classes_") or (len(counts) == kinds and int(counts.sum()) == len(vectors)))
        and len(counts) >= 1
        and part._dual_coef_.shape == (kinds - 1, len(vectors))
        and part._intercept_.shape == (pairs,)
        and (
            not has_probabilities or part._probA.size == part._probB.size == (pairs if hasattr(part, "classes_") else 1)
        )
    )


def _within(places: Any, count: int) -> bool:
    return not len(places) or (int(places.min()) >= 0 and int(places.max()) < count)
