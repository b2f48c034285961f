"""One thing that `amlstore doctor` has checked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked. `remedy` is empty where all is well."""

    check: str
    is_ok: bool
    detail: str
    remedy: str = ""
