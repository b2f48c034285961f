"""The same script in a workspace as strict as Azure ML and in one that isn't: our client reads the same from both."""

from collections.abc import Callable, Iterator
from pathlib import Path

from clients import Client, Place

# What the plugin says of itself, and a tag in which MLflow 2 puts ids and times.
OWN_TAGS = ("amlstore_", "mlflow.log-model.history")


def test_our_client_reads_from_a_strict_workspace_what_it_reads_from_another(
    own_client: Client, start_place: Callable[..., Place], tmp_path: Path
) -> None:
    told, read = [], []
    for name, options in (("strict", ("--parity",)), ("roomy", ())):
        place = start_place(*options)
        environment = place.with_token()
        told.append(own_client.run("script.py", "write", str(tmp_path / name), **environment))
        read.append(own_client.run("script.py", "read", str(tmp_path / f"{name} read"), **environment))
    assert told[0] == told[1]
    strict, roomy = (dict(values_of(document)) for document in read)
    assert {place for place in strict.keys() | roomy.keys() if strict.get(place) != roomy.get(place)} == set()


def values_of(document: object, place: str = "") -> Iterator[tuple[str, object]]:
    """Each value in a document, with where it is."""
    if isinstance(document, list):
        document = dict(enumerate(document))
    if not isinstance(document, dict):
        yield place, document
        return
    for name, value in document.items():
        if not str(name).startswith(OWN_TAGS):
            yield from values_of(value, f"{place}/{name}")
