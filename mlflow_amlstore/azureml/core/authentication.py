"""`azureml.core.authentication`: credentials of azure-identity under the SDK's names.

Each can be given as `auth` or `credential`; azure-identity is loaded when a token is first asked for.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mlflow_amlstore.azureml.finder import names_the_missing_of
from mlflow_amlstore.client.tokens.clouds import CLOUDS, Cloud, cloud_named, current_cloud
from mlflow_amlstore.client.tokens.credentials import AccessToken, Credential
from mlflow_amlstore.client.tokens.tracking_token import expiry_of
from mlflow_amlstore.core.not_yet import names_the_missing
from mlflow_amlstore.errors import InvalidValue

__all__ = [
    "AbstractAuthentication",
    "AzureCliAuthentication",
    "InteractiveLoginAuthentication",
    "MsiAuthentication",
    "ServicePrincipalAuthentication",
    "TokenAuthentication",
]

__getattr__ = names_the_missing_of(__name__)

_SIGN_IN_S = 300
_SHORT_LIFE_S = 300  # of a token that doesn't say when it ends


@names_the_missing
class AbstractAuthentication(ABC):
    """A credential: it has azure-identity's `get_token`."""

    def __init__(self, cloud: str | None = None) -> None:
        """`cloud` is the name of one of Azure's clouds, by default that of AZUREML_CURRENT_CLOUD or the public one."""
        self._cloud_name = cloud
        self._credential: Credential | None = None

    @property
    def _cloud(self) -> Cloud:
        return current_cloud() if self._cloud_name is None else cloud_named(self._cloud_name)

    @abstractmethod
    def _make(self, cloud: Cloud) -> Any:
        """The credential that gives the tokens."""

    def get_token(self, *scopes: str, **kwargs: Any) -> AccessToken:
        """Return a token for scopes, by default the resource manager's. Raises what azure-identity does."""
        cloud = self._cloud
        if self._credential is None:
            self._credential = self._make(cloud)
        return self._credential.get_token(*(scopes or (cloud.scope,)), **kwargs)

    def get_authentication_header(self) -> dict[str, str]:
        """Return the header of a request to the resource manager or to a workspace."""
        return {"Authorization": f"Bearer {self.get_token().token}"}


class InteractiveLoginAuthentication(AbstractAuthentication):
    """Somebody who signs in: by `az login` before, unless `force`, else in a browser, else with a code."""

    def __init__(self, force: bool = False, tenant_id: str | None = None, cloud: str | None = None) -> None:
        """`tenant_id` is the directory to sign in to, by default one's own."""
        super().__init__(cloud)
        self._force, self._tenant_id = force, tenant_id

    def _make(self, cloud: Cloud) -> Any:
        from azure.identity import (
            AzureCliCredential,
            ChainedTokenCredential,
            DeviceCodeCredential,
            InteractiveBrowserCredential,
        )

        asked = {**_authority_of(cloud), "timeout": _SIGN_IN_S}
        if self._tenant_id is not None:
            asked["tenant_id"] = self._tenant_id
        signed_in = [] if self._force else [AzureCliCredential(tenant_id=self._tenant_id or "")]
        return ChainedTokenCredential(*signed_in, InteractiveBrowserCredential(**asked), DeviceCodeCredential(**asked))


class ServicePrincipalAuthentication(AbstractAuthentication):
    """A service principal with its password."""

    def __init__(
        self,
        tenant_id: str,
        service_principal_id: str,
        service_principal_password: str,
        cloud: str | None = None,
        _enable_caching: bool = True,
    ) -> None:
        """The password stays in this object."""
        super().__init__(cloud)
        self._tenant_id, self._client_id, self._secret = tenant_id, service_principal_id, service_principal_password

    def _make(self, cloud: Cloud) -> Any:
        from azure.identity import ClientSecretCredential

        return ClientSecretCredential(self._tenant_id, self._client_id, self._secret, **_authority_of(cloud))


class MsiAuthentication(AbstractAuthentication):
    """The managed identity of the machine."""

    def __init__(self, cloud: str | None = None, *, identity_config: Mapping[str, str] | None = None) -> None:
        """`identity_config` chooses one of several, such as `{"client_id": …}`."""
        super().__init__(cloud)
        self._identity_config = dict(identity_config or {})

    def _make(self, cloud: Cloud) -> Any:
        from azure.identity import ManagedIdentityCredential

        config = dict(self._identity_config)
        client_id = config.pop("client_id", None)
        return ManagedIdentityCredential(client_id=client_id, identity_config=config or None)


class AzureCliAuthentication(AbstractAuthentication):
    """Whoever is signed in by `az login`."""

    def _make(self, cloud: Cloud) -> Any:
        from azure.identity import AzureCliCredential

        return AzureCliCredential()


class TokenAuthentication(AbstractAuthentication):
    """Tokens that a function gives: it is called with an audience, such as `https://management.azure.com/`."""

    def __init__(self, get_token_for_audience: Callable[[str], str], cloud: str | None = None) -> None:
        """The function returns a token's text. Raises InvalidValue for what is no function."""
        super().__init__(cloud)
        self._function = _checked_function(get_token_for_audience)

    def _make(self, cloud: Cloud) -> Any:
        return _OfFunction(self._function)


def _authority_of(cloud: Cloud) -> dict[str, Any]:
    # azure-identity asks Microsoft whether it knows a cloud's authority, which it can't of a cloud of one's own.
    return {"authority": cloud.login, "disable_instance_discovery": cloud not in CLOUDS}


def _checked_function(function: object) -> Callable[[str], object]:
    if not callable(function):
        raise InvalidValue("get_token_for_audience", type(function).__name__, "must be a function of an audience")
    return function


class _Token(NamedTuple):
    token: str
    expires_on: int

    def __repr__(self) -> str:
        return f"AccessToken(expires_on={self.expires_on})"


class _OfFunction(NamedTuple):
    function: Callable[[str], object]

    def get_token(self, *scopes: str, **kwargs: Any) -> _Token:
        text = self.function(scopes[0].removesuffix(".default"))
        if not isinstance(text, str):
            raise InvalidValue("get_token_for_audience", type(text).__name__, "must return a token's text")
        return _Token(text, int(expiry_of(text) or time.time() + _SHORT_LIFE_S))
