import re
from collections.abc import Callable

from machine_speed import at_least


def test_nothing_is_lost_though_uris_expire_many_times(run_example: Callable[..., str]) -> None:
    life_s = at_least(3, 5)
    printed = run_example("expiring_uri.py", "--lifetime", str(life_s), "--seconds", str(life_s * 3.2))

    runs = re.findall(r"^(.*): (\d+) points logged, (\d+) arrived, FINISHED$", printed, re.MULTILINE)
    assert [name for name, _, _ in runs] == ["finds the key", "has nothing but the URI"]
    for _, logged, arrived in runs:
        assert logged == arrived
        assert int(logged) > 20
    issued = re.search(r"were issued and renewed (\d+) times", printed)
    assert issued is not None
    assert int(issued[1]) >= 6  # each of the two processes outlives its URI three times
