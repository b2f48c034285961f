"""Which role lets somebody do what Azure refused: its refusals name an action, and people need a role's name."""

import re

_ACTION = re.compile(r"perform action '(?P<action>Microsoft\.MachineLearningServices/[\w/]+)'")
_SCOPE = re.compile(r"over scope '(?P<scope>[^']+)'")


def advice(refusal: str) -> str:
    """What to ask the workspace's owner for, in a sentence; empty where the refusal names no action of Azure ML's.

    The roles are Azure's own (https://learn.microsoft.com/azure/machine-learning/how-to-assign-roles).
    """
    action = _ACTION.search(refusal)
    if action is None:
        return ""
    is_reading = action["action"].rpartition("/")[2] == "read"
    role = "Reader" if is_reading else "AzureML Data Scientist"
    scope = _SCOPE.search(refusal)
    name = scope["scope"].rstrip("/").rpartition("/workspaces/")[2].partition("/")[0] if scope else ""
    where = f"the workspace {name!r}" if name else "the workspace"
    return f"Ask its owner for the role {role!r} (or one with the action {action['action']!r}) on {where}"
