"""What MLflow's clients ask a server about itself."""

import msgspec

from mlflow_amlstore.service.routing import Area, Call, Right, Role, Routes

routes = Routes(Area.MLFLOW)


class Features(msgspec.Struct, frozen=True):
    """Whole parts of MLflow's server that may be switched off."""

    gateway: bool = False


class ServerInfo(msgspec.Struct, frozen=True):
    """`store_type` is empty, as it is of any store that isn't MLflow's own."""

    store_type: str | None = None
    workspaces_enabled: bool = False
    trace_archival_enabled: bool = False
    multipart_uploads_enabled: bool = True
    multipart_downloads_enabled: bool = True
    presigned_upload_run_id_supported: bool = True
    presigned_upload_model_id_supported: bool = True
    features_enabled: Features = Features()


@routes.get("/api/3.0/mlflow/server-info", Role.READER, Right.TRACK)
def get_server_info(call: Call) -> ServerInfo:
    """Return which of MLflow's optional features the service has."""
    return ServerInfo()
