"""scikit-learn's check of its input is left out without any prediction being another."""

import subprocess
import sys

import pytest

pytest.importorskip("sklearn")

SCRIPT = """
import warnings
import numpy as np
from sklearn import cluster, decomposition, ensemble, impute, linear_model, naive_bayes, neighbors, neural_network
from sklearn import pipeline, preprocessing, svm, tree
from mlflow_amlstore.scoring.flavors import sklearn_checks

warnings.simplefilter("ignore")
random = np.random.default_rng(0)
data = random.normal(size=(60, 5))
kinds = (data.sum(axis=1) > 0).astype(int)
models = [
    linear_model.Ridge(), linear_model.LogisticRegression(), linear_model.SGDClassifier(random_state=0),
    ensemble.RandomForestClassifier(5, random_state=0), ensemble.HistGradientBoostingRegressor(max_iter=3),
    ensemble.GradientBoostingClassifier(n_estimators=3), tree.DecisionTreeRegressor(), svm.SVC(), svm.LinearSVC(),
    neighbors.KNeighborsClassifier(), naive_bayes.GaussianNB(), cluster.KMeans(2, random_state=0),
    neural_network.MLPClassifier(max_iter=5, random_state=0), decomposition.PCA(2), preprocessing.StandardScaler(),
    preprocessing.MinMaxScaler(clip=True), preprocessing.PolynomialFeatures(), impute.SimpleImputer(),
    preprocessing.QuantileTransformer(n_quantiles=10), preprocessing.OneHotEncoder(handle_unknown="ignore"),
    pipeline.make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(3), linear_model.LogisticRegression()),
    pipeline.make_pipeline(preprocessing.PowerTransformer(), svm.SVR()),
    ensemble.VotingClassifier([("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())]),
]
def outputs(model):
    for name in ("predict", "predict_proba", "transform", "decision_function"):
        if hasattr(model, name):
            rows = data[:7].copy()
            result = getattr(model, name)(rows)
            yield name, result.toarray() if hasattr(result, "toarray") else result, rows

before = [list(outputs(model.fit(data, kinds))) for model in models]
sklearn_checks.leave_out()
sklearn_checks.begin()
for model, expected in zip(models, before):
    for (name, result, rows), (_, other, _) in zip(outputs(model), expected, strict=True):
        assert np.array_equal(result, other) and result.dtype == other.dtype, (model, name)
        assert np.array_equal(rows, data[:7]), (model, name)
try:
    models[0].predict(data[:, :3])
except ValueError as error:
    print(error)
sklearn_checks.end()
"""


def test_every_prediction_is_the_same_and_the_width_is_still_checked() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert "expecting 5 features" in done.stdout, done.stderr
