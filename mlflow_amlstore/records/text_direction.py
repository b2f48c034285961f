"""Marks in a text that turn the order of what stands around them (CVE-2021-42574): shown as what they are.

Whoever shows a name or a value to a person, in a page or a notebook, shows it by `plain`.
"""

import re

_TURNING = {ord(mark): f"\\u{ord(mark):04x}" for mark in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Text whose order no mark in it turns around."""
    return text.translate(_TURNING) if _TURNS.search(text) else text
