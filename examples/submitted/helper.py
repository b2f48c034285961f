"""What `train.py` needs besides itself: a submission takes the whole folder."""

from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split


def split() -> list:
    """The diabetes data as training and test data: two tables, and two columns of targets."""
    data, target = load_diabetes(return_X_y=True)
    return train_test_split(data, target, test_size=0.2, random_state=0)
