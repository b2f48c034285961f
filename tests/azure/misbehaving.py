"""`amlstore serve` that answers some requests as a cloud in trouble would, by the rules in the file that FAULTS names.

A rule is an object with `method` and `path` (regular expressions), `status`, `headers`, `body`, and perhaps `skip` (how
many matching requests go through first), `times` (how many are answered so) and `for_s` (how long since the first).
Whatever no rule is for gets the service's own answer, over its own TLS.
"""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mlflow_amlstore.cli import main
from mlflow_amlstore.service import server

VARIABLE = "FAULTS"


class Misbehaving:
    def __init__(self, service: ASGIApp, file: Path) -> None:
        self._service, self._file = service, file
        self._seen: dict[str, int] = {}
        self._first_s: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule = self._rule_for(scope) if scope["type"] == "http" else None
        if rule is None:
            await self._service(scope, receive, send)
            return
        body = rule.get("body", "")
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "application/xml" if text.startswith("<") else "application/json"
        await Response(text, rule["status"], rule.get("headers", {}), kind)(scope, receive, send)

    def _rule_for(self, scope: Scope) -> dict[str, Any] | None:
        target = f"{scope['path']}?{scope['query_string'].decode()}"
        rules = json.loads(self._file.read_text()) if self._file.exists() else []
        for rule in rules:
            if re.fullmatch(rule.get("method", ".*"), scope["method"]) and re.search(rule["path"], target):
                key = json.dumps(rule, sort_keys=True)
                seen = self._seen[key] = self._seen.get(key, 0) + 1
                first_s = self._first_s.setdefault(key, time.monotonic())
                is_on = rule.get("skip", 0) < seen <= rule.get("skip", 0) + rule.get("times", 10**9)
                if is_on and time.monotonic() - first_s < rule.get("for_s", 10**9):
                    return dict(rule)
        return None


if __name__ == "__main__":
    run = server.run
    server.run = lambda app, *given, **named: run(Misbehaving(app, Path(os.environ[VARIABLE])), *given, **named)
    main()
