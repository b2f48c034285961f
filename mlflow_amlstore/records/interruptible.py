"""Context managers that end even where a signal's handler raises: KeyboardInterrupt, or SystemExit for SIGTERM.

A generator of `contextlib.contextmanager` holds what it holds for as long as somebody keeps the traceback, as notebooks
do, where the exception comes as the `with` block is entered or left: it is then neither resumed nor collected.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial, wraps
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


def interruptible(function: Callable[P, Iterator[T]]) -> Callable[P, AbstractContextManager[T]]:
    """As `contextlib.contextmanager`, of a generator that always comes to its end when the `with` block does.

    In the generator, take locks by `with`: between `acquire()` and `try` a signal may come.
    """
    make = contextmanager(function)

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[T]:
        return cast("AbstractContextManager[T]", _Interruptible(make(*args, **kwargs)))

    return made


class _Interruptible(Generic[T]):
    def __init__(self, context: AbstractContextManager[T]) -> None:
        self._context = context

    def __enter__(self) -> T:
        try:
            return self._context.__enter__()
        except BaseException as error:
            self._context.__exit__(type(error), error, error.__traceback__)
            raise

    @property
    def __exit__(self) -> Any:
        """What the `with` block calls. Python may raise as `_end` begins: the generator is collected then, and so
        ended, as the frame of `_end`, which the traceback has, knows it by a weak reference alone."""
        end: Any = partial(_end, weakref.ref(self._context))
        end.context = self._context
        return end


def _end(
    context: "weakref.ref[AbstractContextManager[Any]]",
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> bool:
    living: Any = context()
    try:
        return bool(living.__exit__(kind, error, trace))
    except BaseException as raised:  # maybe before the generator went on
        living.__exit__(type(raised), raised, raised.__traceback__)
        raise
