"""How long a page is, and where it begins, is what the client says; nonsense is refused."""

from collections.abc import Callable

import pytest

from tests.service.run_history.conftest import Call, refused

LISTS = pytest.mark.parametrize(
    ("field", "send"),
    [
        ("top", lambda value: ("history", "POST", "experiments:query", {"top": value})),
        ("top", lambda value: ("history", "POST", "experiments/e/runs:query", {"top": value})),
        ("$top", lambda value: ("history", "GET", "runs/{run}/children", {"$top": value})),
        ("count", lambda value: ("modelmanagement", "GET", "models", {"count": value})),
        ("count", lambda value: ("modelmanagement", "GET", "assets", {"count": value})),
    ],
    ids=["experiments", "runs", "children", "models", "assets"],
)
Arguments = tuple[str, str, str, dict[str, object]]
Send = Callable[[object], Arguments]


def sent(arguments: Arguments, run_id: str) -> tuple[tuple[object, ...], dict[str, object]]:
    area, method, route, fields = arguments
    call = (area, method, route.format(run=run_id))
    return (call, fields) if method == "GET" else ((*call, fields), {})


@LISTS
@pytest.mark.parametrize("length", [-1, 50_001, 10**30, "9" * 5000])
def test_a_page_s_length_is_a_positive_number_with_a_limit(
    call: Call, run_id: str, field: str, send: Send, length: object
) -> None:
    arguments, query = sent(send(length), run_id)
    answer = refused(call, *arguments, **query)
    assert (answer.status, field in answer.body) == (400, True), answer


@LISTS
@pytest.mark.parametrize("length", [0, 1, 50_000])
def test_any_other_is_taken_and_nothing_is_the_usual(
    call: Call, run_id: str, field: str, send: Send, length: object
) -> None:
    arguments, query = sent(send(length), run_id)
    assert isinstance(call(*arguments, **query)["value"], list)


@pytest.mark.parametrize("token", ["9" * 5000, "-1", "x"])
@pytest.mark.parametrize("route", ["experiments:query", "experiments/e/runs:query"])
def test_a_page_token_is_one_that_the_service_gave(call: Call, run_id: str, route: str, token: str) -> None:
    answer = refused(call, "history", "POST", route, {"continuationToken": token})
    assert (answer.status, "page_token" in answer.body) == (400, True)


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 19, "-1", "²", "٣", ""])
def test_a_model_s_version_is_a_number(call: Call, number: str) -> None:
    answer = refused(call, "modelmanagement", "GET", f"models/m:{number}")
    assert (answer.status, "must be NAME:VERSION" in answer.body) == (400, True)
