"""What Azure ML's SDK has and this package doesn't have yet. Its use raises NotSupported with the way out."""

from typing import NoReturn, TypeVar

from mlflow_amlstore.core.sdk_names import ATTRIBUTES
from mlflow_amlstore.errors import AttributeNotSupported, NotSupported

Class = TypeVar("Class", bound=type)

# By words in a name; the first that matches.
_WAYS_OUT = (
    (
        ("submit",),
        "Start the run in the script itself, with experiment.start_logging() or run.child_run()",
    ),
    (("comput", "databricks", "cluster"), "Start the script on the machine that it should run on"),
    (("data",), "Read the data by its path, or with the library of the storage that it is in"),
    (("secret", "keyvault"), "Read the secret from an environment variable, or with azure-keyvault-secrets"),
    (("environment",), "Make one with Environment(name) or Environment.from_conda_specification(name, file_path)"),
    (
        ("deploy", "webservice", "inference", "model.package", "profile", "image"),
        "`mlflow models serve` serves a model",
    ),
)
_ANY_WAY_OUT = "Leave it out, or use Azure ML's own SDK for it"


def way_out(name: str) -> str:
    """What to do without something of the SDK, such as `azureml.core.Dataset` or `Workspace.datastores`."""
    name = name.lower()
    return next((text for words, text in _WAYS_OUT if any(word in name for word in words)), _ANY_WAY_OUT)


def refuse_given(call: str, **arguments: object) -> None:
    """Raise NotSupported if a value was given for an argument that only the SDK's call can use."""
    for name, value in arguments.items():
        if value:
            raise NotSupported(f"{call} with {name}", way_out(name))


class _NotYet:
    """An attribute that raises AttributeNotSupported, on the class and on its objects."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        name = f"{owner.__name__}.{self._name}"
        raise AttributeNotSupported(name, way_out(name))


def names_the_missing(of: Class) -> Class:
    """Add the attributes that only the SDK's class of this name has; each raises AttributeNotSupported."""
    for name in ATTRIBUTES[of.__name__]:
        if not hasattr(of, name):
            setattr(of, name, _NotYet(name))
    return of
