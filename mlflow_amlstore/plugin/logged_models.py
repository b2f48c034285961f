"""Logged models as MLflow's tracking store has them. MLflow 3 brought them: MLflow 2 can't import this module."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mlflow.entities import LoggedModel, LoggedModelParameter, LoggedModelStatus, LoggedModelTag
from mlflow.store.entities.paged_list import PagedList

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.plugin import convert_models
from mlflow_amlstore.plugin.as_errors import raises_mlflow_errors
from mlflow_amlstore.records.common_store import CommonLoggedModels
from mlflow_amlstore.records.search import grammars
from mlflow_amlstore.records.types import LoggedModelRecord, OrderTerm
from mlflow_amlstore.workspace.artifact_uri import to_stored_location

if TYPE_CHECKING:
    from mlflow_amlstore.records.sql.logged_models import SqlLoggedModels


DEFAULT_MAX_RESULTS = 100  # as MLflow's


@raises_mlflow_errors
class CommonLoggedModelsMixin:
    """The logged-model methods of a tracking store, but for the search."""

    _logged_models: CommonLoggedModels
    _root_uri: str

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: Sequence[LoggedModelTag] | None = None,
        params: Sequence[LoggedModelParameter] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        """Create a pending logged model, with a name made up where none is given."""
        record = self._logged_models.create(
            experiment_id,
            name=name,
            source_run_id=source_run_id,
            model_type=model_type,
            params=_by_key(params or ()),
            tags=_by_key(tags or ()),
        )
        return self._as_entity(record)

    def get_logged_model(self, model_id: str, allow_deleted: bool = False) -> LoggedModel:
        """Return a logged model, a deleted one only if allowed."""
        record = self._logged_models.get(model_id, allow_deleted=allow_deleted)
        return self._as_entity(record)

    def finalize_logged_model(self, model_id: str, status: LoggedModelStatus | str) -> LoggedModel:
        """Mark a logged model READY or FAILED."""
        record = self._logged_models.finalize(model_id, str(status))
        return self._as_entity(record)

    def set_logged_model_tags(self, model_id: str, tags: Sequence[LoggedModelTag]) -> None:
        """Set tags."""
        self._logged_models.set_tags(model_id, _by_key(tags))

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Delete a tag, which must be there."""
        self._logged_models.delete_tag(model_id, key)

    def delete_logged_model(self, model_id: str) -> None:
        """Delete a logged model; its files stay until `amlstore gc`."""
        self._logged_models.delete(model_id)

    def log_logged_model_params(self, model_id: str, params: Sequence[LoggedModelParameter]) -> None:
        """Add params that the model doesn't have yet."""
        self._logged_models.add_params(model_id, _by_key(params))

    def _as_entity(self, record: LoggedModelRecord) -> LoggedModel:
        return convert_models.logged_model(record, self._root_uri)


@raises_mlflow_errors
class LoggedModelsMixin(CommonLoggedModelsMixin):
    """The logged-model methods of a tracking store whose workspace can search them whatever the filter."""

    _logged_models: "SqlLoggedModels"

    def search_logged_models(
        self,
        experiment_ids: Sequence[str],
        filter_string: str | None = None,
        datasets: Sequence[dict[str, Any]] | None = None,
        max_results: int | None = None,
        order_by: Sequence[dict[str, Any]] | None = None,
        page_token: str | None = None,
    ) -> PagedList[LoggedModel]:
        """Return a page of logged models; `datasets` and `order_by` are MLflow's dictionaries."""
        page = self._logged_models.search(
            experiment_ids,
            filter=grammars.LOGGED_MODELS.parse(filter_string).with_values(
                "artifact_location", partial(to_stored_location, self._root_uri)
            ),
            datasets=[_dataset(given) for given in datasets or ()],
            order_by=[_order_term(given) for given in order_by or ()],
            max_results=max_results or DEFAULT_MAX_RESULTS,
            page_token=page_token,
        )
        return PagedList([self._as_entity(record) for record in page.items], page.next_token)


def _by_key(entities: Sequence[LoggedModelTag] | Sequence[LoggedModelParameter]) -> dict[str, str]:
    return {entity.key: entity.value for entity in entities}


def _dataset(given: dict[str, Any]) -> tuple[str, str | None]:
    if not given.get("dataset_name"):
        raise InvalidValue("datasets", given, "`dataset_name` must be given for each dataset")
    return given["dataset_name"], given.get("dataset_digest")


def _order_term(given: dict[str, Any]) -> OrderTerm:
    if not given.get("field_name"):
        raise InvalidValue("order_by", given, "`field_name` must be given for each term")
    return OrderTerm(
        name=given["field_name"],
        is_ascending=given.get("ascending", True),
        dataset_name=given.get("dataset_name"),
        dataset_digest=given.get("dataset_digest"),
    )
