"""Blocks that end even where a signal's handler raises, as Ctrl-C and `sys.exit` in a handler do.

Python calls a handler in the main thread, between two steps of Python code and never inside C code. What the handler
raises is raised there. An `@interruptible` generator is always resumed, so its `finally` always runs, and at once. Two
rules make it give back all that it took:

- It takes a lock by `with lock`, never by `acquire()`: a handler may raise when `acquire()` has returned.
- It ends what it began by single calls of C code in `finally`, such as `driver.rollback()` or `dict.pop`.

With `contextlib.contextmanager` this isn't so. It resumes its generator from a Python method. A handler that raises as
this method begins leaves the generator suspended until its last reference is gone, and the traceback has one.
"""

import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from functools import partial, wraps
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")
_Steps = Generator[T, None, None]


def interruptible(function: Callable[P, Iterator[T]]) -> Callable[P, AbstractContextManager[T]]:
    """Make a context manager of a generator function, as `contextlib.contextmanager` does; see above."""

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[T]:
        return cast("AbstractContextManager[T]", _Block(cast("_Steps[T]", function(*args, **kwargs))))

    return made


class _Block(Generic[T]):
    def __init__(self, steps: _Steps[T]) -> None:
        self._steps = steps

    def __enter__(self) -> T:
        try:
            return next(self._steps)
        except BaseException:
            self._steps.close()
            raise

    @property
    def __exit__(self) -> Any:
        """What the `with` statement calls at its end; it alone has a reference to this, and so to the generator.

        Where a handler raises as `_end` begins, the statement drops its reference: the generator is collected, and
        Python runs its `finally`.
        """
        end: Any = partial(_end, weakref.ref(self._steps))
        end.steps = self._steps
        return end


def _end(
    steps: "weakref.ref[_Steps[Any]]",
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> bool:
    living: Any = steps()
    try:
        if error is None:
            next(living, None)
        else:
            living.throw(error)
    except BaseException as raised:
        living.close()  # where a handler raised before the generator went on
        if raised is error:
            return False
        raise
    return False
