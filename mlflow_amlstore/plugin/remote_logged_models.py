"""Logged models of a workspace over the network as MLflow's tracking store has them. MLflow 3 brought them: MLflow 2
can't import this.
"""

from collections.abc import Sequence
from typing import Any

from mlflow.entities import LoggedModel
from mlflow.store.entities.paged_list import PagedList
from mlflow.utils.search_utils import SearchLoggedModelsUtils, SearchUtils

from mlflow_amlstore.client.connection import Connection
from mlflow_amlstore.client.logged_models.of_connection import logged_models_of
from mlflow_amlstore.client.logged_models.source import LoggedModelSource
from mlflow_amlstore.plugin.as_errors import raises_mlflow_errors
from mlflow_amlstore.plugin.logged_models import DEFAULT_MAX_RESULTS, CommonLoggedModelsMixin


@raises_mlflow_errors
class RemoteLoggedModelsMixin(CommonLoggedModelsMixin):
    """The logged-model methods of a tracking store that has a connection."""

    connection: Connection

    @property
    def _logged_models(self) -> LoggedModelSource:  # type: ignore[override]  # a network call, which `__init__` isn't
        return logged_models_of(self.connection)

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
        ids = [str(experiment_id) for experiment_id in experiment_ids]
        most = max_results or DEFAULT_MAX_RESULTS
        page = self._logged_models.find_page(
            ids,
            filter=filter_string,
            datasets=datasets or (),
            order_by=order_by or (),
            max_results=most,
            page_token=page_token,
        )
        records = self._logged_models.in_experiments(ids) if page is None else page.items
        models = [self._as_entity(record) for record in records]
        if page is not None:
            return PagedList(models, page.next_token)
        models = SearchLoggedModelsUtils.filter_logged_models(models, filter_string, list(datasets or ()) or None)
        models = SearchLoggedModelsUtils.sort(models, list(order_by or ()))
        return PagedList(*SearchUtils.paginate(models, page_token, most))

    def log_outputs(self, run_id: str, models: Sequence[Any]) -> None:
        """Record logged models, as LoggedModelOutput entities, that came out of a run."""
        self._logged_models.log_outputs(run_id, [(model.model_id, model.step) for model in models])
