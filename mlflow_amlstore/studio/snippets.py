"""How to ask an endpoint from a terminal and from Python: text to copy, with no key in it."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

_KEY = "ENDPOINT_KEY"
_ANY_EXAMPLE: dict[str, Any] = {"data": [[0.0, 0.0]]}


class Snippet(msgspec.Struct, frozen=True):
    """Lines to copy."""

    title: str
    text: str


def snippets(name: str, scoring_uri: str, example: Mapping[str, Any] | None, *, auth: bool) -> list[Snippet]:
    """Of a request to an endpoint with this example, as curl, with `requests`, and with the SDK.

    The first two read the key from the variable `ENDPOINT_KEY`; the SDK asks the workspace for it.
    """
    body = dict(example or _ANY_EXAMPLE)
    return [
        Snippet("curl", _curl(scoring_uri, body, auth=auth)),
        Snippet("Python", _python(scoring_uri, body, auth=auth)),
        Snippet("SDK", _sdk(name, body)),
    ]


def _curl(scoring_uri: str, body: dict[str, Any], *, auth: bool) -> str:
    options = ["-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}"]
    if auth:
        options.insert(1, f'-H "Authorization: Bearer ${_KEY}"')
    return " \\\n  ".join([f"curl {shlex.quote(scoring_uri)}", *options])


def _python(scoring_uri: str, body: dict[str, Any], *, auth: bool) -> str:
    headers = [f"""    headers={{"Authorization": f"Bearer {{os.environ['{_KEY}']}}"}},"""] if auth else []
    return "\n".join(
        [
            *(["import os", ""] if auth else []),
            "import requests",
            "",
            "answer = requests.post(",
            f"    {json.dumps(scoring_uri)},",
            *headers,
            f"    json={body!r},",
            "    timeout=60,",
            ")",
            "answer.raise_for_status()",
            "print(answer.json())",
        ]
    )


def _sdk(name: str, body: dict[str, Any]) -> str:
    return "\n".join(
        [
            "import json",
            "",
            "from mlflow_amlstore.core import Workspace",
            "from mlflow_amlstore.core.webservice import Webservice",
            "",
            f"service = Webservice(Workspace.from_config(), {json.dumps(name)})",
            f"print(service.run(json.dumps({body!r})))",
        ]
    )
