"""Objects that take no attributes but their own: a slip in a name is an error, where it would change nothing."""

from mlflow_amlstore.core.not_yet import way_out
from mlflow_amlstore.core.sdk_names import ATTRIBUTES
from mlflow_amlstore.errors import AttributeNotSupported, UnknownAttribute


class StrictAttributes:
    """Base of what scripts fill in by setting attributes: those that a class annotates, and its properties.

    Setting one that only the SDK's class has raises AttributeNotSupported, setting any other UnknownAttribute.
    """

    def __setattr__(self, name: str, value: object) -> None:
        kind = type(self)
        known = {name for each in kind.__mro__ for name in getattr(each, "__annotations__", ())}
        is_property = any(isinstance(vars(each).get(name), property) for each in kind.__mro__)
        if name not in known and not is_property:
            if name in ATTRIBUTES.get(kind.__name__, ()):
                raise AttributeNotSupported(f"{kind.__name__}.{name}", way_out(name))
            raise UnknownAttribute(kind.__name__, name, [name for name in known if not name.startswith("_")])
        object.__setattr__(self, name, value)
