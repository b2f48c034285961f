"""The widget, without a page: its state follows the run, a page's questions are answered, closing ends its thread."""

import threading
from typing import Any

import pytest
from waiting import wait_for

from mlflow_amlstore.core import Run

pytestmark = pytest.mark.needs("anywidget")


@pytest.fixture
def widget(run: Run) -> Any:
    from mlflow_amlstore.widgets.run_widget import RunWidget

    for step in range(10):
        run.log("loss", 1 / (step + 1))
    run.flush()
    made = RunWidget(run)
    yield made
    made.close()


def _asked(widget: Any, **content: object) -> dict[str, Any]:
    """What the widget answers a message of its page."""
    answers: list[dict[str, Any]] = []
    widget.send = answers.append
    widget._handle_custom_msg({"id": "1", **content}, [])
    [answer] = answers
    return answer


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("amlstore-watch-")]


def test_its_state_is_whole_from_the_start_and_follows_the_run(widget: Any, run: Run) -> None:
    state = widget.get_state()
    assert (state["head"]["run_id"], state["part_0"]["name"]) == (run.id, "loss")
    widget.watch()
    run.log("late", 1)
    wait_for(lambda: widget.part_1)
    run.complete()
    wait_for(lambda: widget.head["status"] == "Completed")
    wait_for(lambda: not widget.is_watching)


def test_closing_it_ends_its_thread(widget: Any) -> None:
    widget.watch()
    assert _threads()
    widget.close()
    wait_for(lambda: not _threads())


def test_it_is_watched_as_long_as_a_view_is_there(widget: Any) -> None:
    assert _asked(widget, ask="hello", view="a") == {"id": "1", "answer": None}
    _asked(widget, ask="hello", view="b")
    _asked(widget, ask="bye", view="a")
    assert widget.is_watching
    _asked(widget, ask="bye", view="b")
    wait_for(lambda: not _threads())


def test_a_zoom_is_answered_with_the_points_in_between(widget: Any) -> None:
    answer = _asked(widget, **{"ask": "curve", "metric": "loss", "x": "step", "points": "100", "from": "2", "to": "4"})
    [curve] = answer["answer"]["curves"]
    assert (curve["x"], curve["points_in_all"], curve["points_in_window"]) == ([2, 3, 4], 10, 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"ask": "show", "run_id": "never"}, "never"),
        ({"ask": "curve", "metric": "loss", "x": "hours", "points": 10}, "must be step or time"),
        ({"ask": "curve", "metric": "loss", "x": "step", "points": 10**6}, "must be 1 to 4000"),
        ({"ask": "everything"}, "must be hello, bye, show, curve or image"),
    ],
)
def test_what_cant_be_answered_is_said(widget: Any, content: dict[str, object], said: str) -> None:
    assert said in _asked(widget, **content)["error"]
