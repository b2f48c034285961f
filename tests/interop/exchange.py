"""Recorded requests without what is different each time, and how two clients' requests for the same call differ."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote

Request = dict[str, Any]
Calls = dict[str, list[Request]]

_WORKSPACE = re.compile(r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[^/]+/workspaces/[^/?]+")
_PATTERNS = (
    (re.compile(r"\d{6}T\d{6}-[0-9a-f]{8}"), "<upload>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<hex>"),
)
_LATEST_TIME_GIVEN = 1_700_000_100_000  # by the calls themselves
_DIFFERENT_EACH_TIME = {
    "content-md5", "idempotency-key", "if-match", "range", "x-amlstore-offset", "x-amlstore-sha256",
    "x-mlflow-client-version", "x-ms-range",
}  # fmt: skip
_VERSION = re.compile(r"/\d[\w.]*")


def normalised(calls: Calls, ids: dict[str, str], service_url: str, folder: str) -> Calls:
    """Calls with placeholders for what is different each time; requests that are then the same are counted.

    `folder` is where the calls' local files were. How a file is cut into blocks or ranges is left out but for their
    number, because it's a matter of speed.
    """
    known = {one: f"<{name}>" for name, one in ids.items() if len(one) > 8} | {folder: "<folder>"}
    known |= {service_url: "<service>", service_url.partition("://")[2]: "<host>"}

    def same(text: str) -> str:
        for one, name in known.items():
            text = text.replace(one, name)
        text = _WORKSPACE.sub("<workspace>", text)
        for pattern, name in _PATTERNS:
            text = pattern.sub(name, text)
        return text

    def same_value(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: same_value(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [same_value(one) for one in value]
        if key == "user_id":
            return "<user>"
        if key.endswith(("time", "timestamp")) and isinstance(value, int) and value > _LATEST_TIME_GIVEN:
            return "<time>"
        return same(value) if isinstance(value, str) else value

    return {name: _counted(_request(one, same, same_value) for one in requests) for name, requests in calls.items()}


def _request(request: Request, same: Any, same_value: Any) -> Request:
    body = request["body"]
    if isinstance(body, str) and "json" in request["headers"].get("content-type", "") and body:
        body = same_value(json.loads(body))
    elif isinstance(body, str) and "<BlockList>" in body:
        body = {"blocks": body.count("<Latest>") + body.count("<Uncommitted>")}
    query = parse_qsl(request["query"], keep_blank_values=True)
    if ("comp", "block") in query:
        body = "<block>"
    return {
        "method": request["method"],
        "path": same(unquote(request["path"])),
        "query": {name: _query_value(name, same(value)) for name, value in query},
        "headers": {name: _header_value(name, same(value)) for name, value in sorted(request["headers"].items())},
        "body": body,
    }


def _query_value(name: str, value: str) -> str:
    return f"<{name}>" if name in ("blockid", "se", "si", "sig") else value


def _header_value(name: str, value: str) -> str:
    if name == "authorization":
        return f"{value.partition(' ')[0]} <token>"
    if name == "user-agent":
        return _VERSION.sub("/<version>", value.partition(" Python/")[0])
    if name in _DIFFERENT_EACH_TIME:
        return f"<{name}>"
    return value


def _counted(requests: Iterator[Request]) -> list[Request]:
    """Requests with how often each was sent. Their order says nothing: both clients send in parallel."""
    counted: dict[str, Request] = {}
    for request in requests:
        known = counted.setdefault(json.dumps(request, sort_keys=True), {**request, "times": 0})
        known["times"] += 1
    return sorted(counted.values(), key=lambda one: json.dumps(one, sort_keys=True))


def differences(real: Calls, own: Calls) -> Iterator[str]:
    """Each way in which `own` differs from `real`, as `CALL: METHOD PATH: FIELD: what it is in real, and in own`."""
    for name in sorted({*real, *own}):
        real_targets, own_targets = _by_target(real.get(name, [])), _by_target(own.get(name, []))
        for target in sorted({*real_targets, *own_targets}):
            theirs, ours = real_targets.get(target, []), own_targets.get(target, [])
            for place in range(max(len(theirs), len(ours))):
                at = f"{name}: {target}"
                if place >= len(ours):
                    yield f"{at}: not sent by ours: {_short(theirs[place])}"
                elif place >= len(theirs):
                    yield f"{at}: sent by ours alone: {_short(ours[place])}"
                else:
                    yield from _fields(theirs[place], ours[place], at)


def _by_target(requests: list[Request]) -> dict[str, list[Request]]:
    targets: dict[str, list[Request]] = {}
    for request in requests:
        part = request["query"].get("comp")
        target = f"{request['method']} {request['path']}" + (f" ({part})" if part else "")
        targets.setdefault(target, []).append(request)
    return targets


def _fields(real: Any, own: Any, at: str) -> Iterator[str]:
    if isinstance(real, dict) and isinstance(own, dict):
        for key in sorted({*real, *own}):
            yield from _fields(real.get(key, "nothing"), own.get(key, "nothing"), f"{at}: {key}")
    elif isinstance(real, list) and isinstance(own, list) and len(real) == len(own):
        for one, other in zip(real, own, strict=True):
            yield from _fields(one, other, at)
    elif real != own:
        yield f"{at}: {_short(real)}, ours {_short(own)}"


def _short(value: Any) -> str:
    if isinstance(value, dict) and "times" in value:
        value = {"query": value["query"], "body": value["body"], "times": value["times"]}
    return json.dumps(value, ensure_ascii=False)
