"""Addresses of Studio's pages, relative to the page that they stand on.

So they hold behind a proxy that puts a prefix before every path, and through a forwarded port. A name is one segment
of a path, percent-encoded; its last `.json` is encoded, too, for that would ask for the page's data.
"""

from collections.abc import Sequence
from functools import cache
from urllib.parse import quote, urlencode

import msgspec


class Links:
    """Links from the page at this path, which is as it was sent: still percent-encoded."""

    def __init__(self, raw_path: str) -> None:
        self.root = "../" * (raw_path.count("/") - 1) or "./"
        self.here = raw_path.removesuffix("/").removeprefix("/")

    def to(self, *segments: str, **query: object) -> str:
        """The page whose path has these segments; what is empty in the query is left out."""
        given = {name: value for name, value in query.items() if value not in (None, "", ())}
        path = "/".join(segment(each) for each in segments)
        return f"{self.root}{path}" + (f"?{urlencode(given)}" if given else "")

    def run(self, run_id: str, *rest: str, **query: object) -> str:
        """A run's page, or one of its others."""
        return self.to("runs", run_id, *rest, **query)

    def runs_of(self, experiment_id: str, **query: object) -> str:
        """An experiment's runs."""
        return self.to("experiments", experiment_id, "runs", **query)

    def model(self, name: str, **query: object) -> str:
        """A registered model's page."""
        return self.to("models", name, **query)

    def compare(self, run_ids: Sequence[str]) -> str:
        """The comparison of these runs."""
        return self.to("compare", runs=",".join(run_ids))

    def here_with(self, query: msgspec.Struct, *, suffix: str = "", **changes: str) -> str:
        """This page with its query changed."""
        last = self.here.rpartition("/")[2]
        return (
            f"{last}{suffix}" + (self.query_of(query, **changes) or "?")
            if last
            else f"./{self.query_of(query, **changes)}"
        )

    def query_of(self, query: msgspec.Struct, **changes: str) -> str:
        """A query with changes, from its `?` on; what is as it is without being asked for is left out."""
        kept = {}
        for name, written, default in _fields(type(query)):
            value = changes.get(written, getattr(query, name))
            if value != default:
                kept[written] = value
        return f"?{urlencode(kept)}" if kept else ""

    def kept_of(self, query: msgspec.Struct, *left_out: str) -> list[tuple[str, object]]:
        """What a form of this page sends along of its query, by name, but for what is left out."""
        fields = [(written, getattr(query, name), default) for name, written, default in _fields(type(query))]
        return [(name, value) for name, value, default in fields if value != default and name not in left_out]

    def toggled(self, texts: str, text: str) -> str:
        """A list with commas between, with a text added that isn't in it, or taken out that is."""
        given = [each for each in texts.split(",") if each]
        return ",".join([each for each in given if each != text] if text in given else [*given, text])

    def zip_of(self, run_id: str, folder: str = "") -> str:
        """A run's files, or those of a folder, as a zip file."""
        return self.run(run_id, "outputs") + ".zip" + (f"?{urlencode({'folder': folder})}" if folder else "")

    def snapshot_zip(self, run_id: str) -> str:
        """A run's snapshot as a zip file."""
        return self.run(run_id, "snapshot") + ".zip"

    def model_zip(self, name: str, version: int) -> str:
        """A version's files as a zip file."""
        return self.to("models", name, str(version)) + ".zip"

    def file(self, run_id: str, path: str, **query: object) -> str:
        """A file of a run, as it is."""
        return self.to("runs", run_id, "files", *path.split("/"), **query)

    def curves(self, metric: str, run_ids: Sequence[str] = (), *, group: str = "") -> str:
        """The curves of a metric of these runs, as JSON, one for each value of a param where they are grouped."""
        asked = {"metric": metric, **({"group": group} if group else {})}
        return f"{self.root}curves.json?{urlencode(asked)}&runs={quote(','.join(run_ids), safe=',')}"

    def curves_of_run(self, run_id: str, metrics: Sequence[str]) -> str:
        """The curves of these metrics of a run, as JSON."""
        return self.run(run_id, "curves") + f".json?metrics={quote(','.join(quote(name, safe='') for name in metrics))}"

    def scatter(self, up: str, across: str, query: msgspec.Struct, *, experiment: str = "") -> str:
        """One column over another, as JSON, of the runs that a query finds."""
        given = msgspec.structs.asdict(query)
        kept = {name: given[name] for name in ("filter", "status", "who", "type", "view") if given[name]}
        return self.to("scatter") + f".json?{urlencode({'up': up, 'across': across, 'experiment': experiment, **kept})}"

    def static(self, version: str, name: str) -> str:
        """A file of Studio's own."""
        return f"{self.root}static/{version}/{name}"


@cache
def _fields(query: type[msgspec.Struct]) -> list[tuple[str, str, object]]:
    """Of each field of a query its name, its name in addresses, and what it is where nothing is asked for."""
    return [(field.name, field.encode_name, field.default) for field in msgspec.structs.fields(query)]


def segment(text: str) -> str:
    """A name as one segment of a path."""
    quoted = quote(text, safe="")
    return f"{quoted[:-5]}%2Ejson" if quoted.endswith(".json") else quoted
