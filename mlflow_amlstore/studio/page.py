"""What all pages have in common: one struct of data, shown as HTML within the frame, or given as JSON.

A page is a function of a call and a query that returns a struct. It is registered twice: `/runs` renders the struct by
its template, `/runs.json` is the struct itself. What is shown and what is given can't differ.
"""

import gzip
import json
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeVar, get_type_hints

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.runtime import Context
from markupsafe import Markup, escape

from mlflow_amlstore.records.text_direction import plain
from mlflow_amlstore.service.access import Role
from mlflow_amlstore.service.routing import Area, Call, Content, Right, Routes
from mlflow_amlstore.studio import assets, live, words
from mlflow_amlstore.studio.kept_pages import kept
from mlflow_amlstore.studio.links import Links

PART_HEADER = b"x-studio-part"  # `main`: what stands in the frame, which a page that is open takes in
SINCE_HEADER = b"x-studio-since"  # the version of the workspace that such a page heard of: one as new as that will do
COUNTS_HEADER = "x-studio-counts"  # what the navigation counts, as JSON
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cache-control", "no-cache, private"),
    ("vary", "X-Studio-Part, Accept-Encoding, Cookie"),
)
_WORTH_COMPRESSING_BYTES = 8_000
# One at a time: on more threads templates are rendered no faster, and what logs into the workspace would wait for each.
_rendering = threading.Lock()
H = TypeVar("H", bound=Callable[..., Any])


class NoQuery(msgspec.Struct, frozen=True):
    """A page that is asked for nothing."""


class Counts(NamedTuple):
    """What the navigation counts."""

    runs: int
    running: int
    experiments: int
    models: int


class Pages:
    """The pages of one module."""

    def __init__(self) -> None:
        self.routes = Routes(Area.STUDIO)

    def page(self, path: str, template: str, *, is_long: bool = False, keeps: bool = False) -> Callable[[H], H]:
        """Register the function below, `(call, query)`, as the page at this path and its data beside it.

        `keeps` is for a page that is made of the records and its query alone, and costs much in a large workspace.
        """

        def register(make: H) -> H:
            hints = get_type_hints(make)

            def data_at(version: int, call: Call, query: Any) -> Any:
                if not keeps:
                    return make(call, query)
                return kept(call.records, (_raw_path(call), query), version, lambda: make(call, query))

            def data(call: Call, body: Any) -> Any:
                return data_at(live.version_of(call.records), call, body)

            def html(call: Call, body: Any) -> Content:
                version = live.version_of(call.records)  # before the data: what is written meanwhile is told

                def rendered() -> Content:
                    return render(call, template, data_at(version, call, body), version=version)

                if not (keeps and _is_part(call)):  # a whole page has the form token of its session
                    return rendered()
                key = (_raw_path(call), body, template, _may_change(call), _takes_gzip(call))
                return kept(call.records, key, version, rendered, at_least=_heard_of(call, version))

            for function, answer, suffix in ((data, hints["return"], ".json"), (html, Content, "")):
                function.__doc__ = make.__doc__
                function.__annotations__ = {"call": Call, "body": hints["query"], "return": answer}
                if path != "/" or not suffix:
                    self.routes.get(path + suffix, Role.READER, Right.LOOK, is_long=is_long)(function)
            if path == "/":
                self.routes.get("/workspace.json", Role.READER, Right.LOOK, is_long=is_long)(data)
            return make

        return register


def render(call: Call, template: str, page: Any, *, version: int) -> Content:
    """A page as HTML: whole, or what stands in the frame where the call asks for that.

    `version` is the workspace's when the page's data was read.
    """
    counts = _counts(call)
    named = {"page": page, "call": call, "links": Links(_raw_path(call)), "may_change": _may_change(call)}
    if not _is_part(call):
        named |= {"counts": counts, "since": version}
        named |= {"version": assets.version(), "loaded_with": assets.loaded_with}
    loaded = _environment().get_template(template)
    with _rendering:
        if _is_part(call):
            context: Context = loaded.new_context(named)
            text = "".join(loaded.blocks["main"](context))
        else:
            text = loaded.render(named)
    body, headers = text.encode(), [*_HEADERS, (COUNTS_HEADER, json.dumps(counts._asdict()))]
    if len(body) > _WORTH_COMPRESSING_BYTES and _takes_gzip(call):
        body = gzip.compress(body, 1, mtime=0)
        headers.append(("content-encoding", "gzip"))
    return Content(body, "text/html; charset=utf-8", tuple(headers))


def _raw_path(call: Call) -> str:
    return call.url.partition("?")[0]


def _is_part(call: Call) -> bool:
    return call.headers.get(PART_HEADER) == b"main"


def _heard_of(call: Call, version: int) -> int:
    """The version that the page heard of, at most the workspace's: versions begin anew with each server."""
    since = live.version_in(call.headers.get(SINCE_HEADER, b"").decode("latin-1"))
    return version if since is None else min(version, since)


def _takes_gzip(call: Call) -> bool:
    return b"gzip" in call.headers.get(b"accept-encoding", b"")


def _may_change(call: Call) -> bool:
    return call.caller is not None and call.caller.role >= Role.CONTRIBUTOR


def alone(template: str, raw_path: str, **named: object) -> str:
    """A page that stands without the frame, since it needs no session: signing in, an error."""
    loaded = _environment().get_template(template)
    return loaded.render(named, links=Links(raw_path), version=assets.version())


def alone_headers() -> dict[str, str]:
    """The headers of such a page."""
    return dict(_HEADERS)


def _counts(call: Call) -> Counts:
    counted = call.records.runs.activity()
    experiments = call.records.experiments.count()
    return Counts(counted.runs, counted.running, experiments, call.records.models.count())


def _shown(value: Any) -> Any:
    """What a template shows of a value. What a form sends is `exact` instead."""
    return plain(value) if type(value) is str else value


def _in_script(value: Any) -> Markup:
    """A value as JSON that a `<script type="application/json">` may hold."""
    return _for_script(msgspec.json.encode(value).decode())


def _for_script(text: str) -> Markup:
    """JSON without what would end the element that holds it, or begin a comment in it."""
    return Markup(text.replace("<", "\\u003c"))  # which means `<` in JSON's strings, and stands nowhere else


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("mlflow_amlstore.studio"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_shown,
    )
    environment.filters.update(
        number=words.number,
        duration=words.duration,
        time=words.time,
        iso_time=words.iso_time,
        size=words.size,
        look=words.look_of,
        exact=escape,
        json=_in_script,
        raw_json=_for_script,
        json_text=lambda value: msgspec.json.encode(value).decode(),
        from_json=msgspec.json.decode,
    )
    return environment
