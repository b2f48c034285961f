"""*Submit again*, in the Studio of a folder that its user runs: it starts a script of theirs, as their terminal would.

A service has no such route: it runs nobody's code.
"""

import shlex

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlflow_amlstore.errors import BadRequest, InvalidValue
from mlflow_amlstore.runner.submitting_again import submit_again
from mlflow_amlstore.service.files.transfer import on_thread
from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes
from mlflow_amlstore.workspace.opening import EmbeddedWorkspace

PATH = "/runs/{run_id}/submit-again"


class Arguments(msgspec.Struct, frozen=True):
    """The script's arguments, as a shell takes them."""

    arguments: str = ""


class Submitted(msgspec.Struct, frozen=True):
    """The new run."""

    run_id: str


def routes_of(workspace: EmbeddedWorkspace) -> Routes:
    """The routes of a Studio that its user runs on a workspace of their own."""
    routes = Routes(Area.STUDIO)

    @routes.post(PATH, Role.OWNER, Right.LOOK)
    async def submit(call: Call, request: Request) -> Response:
        """Submit a run's snapshot again, with other arguments."""
        body = await request.body()
        try:
            given = msgspec.json.decode(body, type=Arguments)
            arguments = shlex.split(given.arguments)
        except msgspec.MsgspecError as error:
            raise BadRequest(str(error)) from error
        except ValueError as error:
            raise InvalidValue("arguments", given.arguments, f"must be as a shell takes them: {error}") from error
        run_id = await on_thread(submit_again, workspace, call.path["run_id"], arguments)
        return Response(msgspec.json.encode(Submitted(run_id)), media_type="application/json")

    return routes


def is_offered(call: Call) -> bool:
    """Whether this Studio can submit again, and the caller may."""
    may = call.caller is not None and call.caller.role >= Role.OWNER
    return may and any(route.path == PATH for route in call.routes)
