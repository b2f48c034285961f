"""Sealing what must be read again and that nobody else may read: an endpoint's keys, which its owner asks for.

A sealed text can be opened with the workspace's secret alone, so a copied database gives nothing away.
"""

import base64
import hashlib
import hmac
from pathlib import Path

from mlflow_amlstore.errors import ExtraMissing, InvalidState
from mlflow_amlstore.records.secret import workspace_secret


class Seal:
    """Seals and opens texts of the workspace in a folder. Raises ExtraMissing without `cryptography`, and what
    `workspace_secret` raises."""

    def __init__(self, folder: Path, purpose: str) -> None:
        """`purpose` separates seals: what was sealed for one opens for no other."""
        try:
            from cryptography.fernet import Fernet
        except ModuleNotFoundError:
            raise ExtraMissing(f"Keeping {purpose}", "cryptography", "deploy") from None
        key = hmac.digest(workspace_secret(folder), purpose.encode(), hashlib.sha256)
        self._fernet = Fernet(base64.urlsafe_b64encode(key))
        self._purpose = purpose

    def close(self, text: str) -> bytes:
        """Seal a text."""
        return self._fernet.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """Open a sealed text. Raises InvalidState where the workspace has another secret now."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise InvalidState(
                f"The {self._purpose} can't be read: service/secret in the workspace's folder isn't what sealed them. "
                "Put the former file back, or make new keys (`amlstore endpoints keys NAME --new both`)"
            ) from None
