"""The key of whoever runs the service on this machine."""

import base64
import hashlib
import hmac

LOCAL_KEY_ID = "local"


def local_key(secret: bytes) -> str:
    """The key of whoever can read the workspace's folder: an owner's, kept nowhere, found again from the secret."""
    digest = hmac.digest(secret, b"local key", hashlib.sha256)
    return f"amlk_{LOCAL_KEY_ID}_{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
