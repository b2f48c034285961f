"""Certificates: one that the user has, or a development one signed by a certificate authority (CA) made here.

The CA is this user's, one for all workspaces, so that it is trusted once. Its key stays in the user's state folder and
not in the workspace's: workspaces are copied and given away, and whoever has the key can pose as any site to those who
trust the CA. Made with `cryptography`, which azure-identity brings anyway; trustme would add a package for tests that
leaves when a certificate ends, and how a CA is kept, to its user.
"""

import hashlib
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.service.secret import write_private

CA_NAME = "amlstore development CA"
_CA_LIFETIME = timedelta(days=3650)
_LIFETIME = timedelta(days=397)  # the longest that Apple's and Google's clients take
_RENEW_WHEN_LEFT = timedelta(days=30)
_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain, its key, and the CA to trust where that is one of ours.

    `renew` makes a new one in the same files, where it is ours and its end is near.
    """

    chain: Path
    key: Path
    ca: Path | None = None
    renew: Callable[[], None] = lambda: None


def given(chain: Path, key: Path) -> Certificate:
    """The user's own certificate. Raises InvalidValue where it can't be used."""
    for option, file in (("--tls-cert", chain), ("--tls-key", key)):
        if not os.access(file, os.R_OK) or not file.is_file():
            raise InvalidValue(option, str(file), "must be a file that this user can read")
    try:
        leaf = x509.load_pem_x509_certificate(chain.read_bytes())
    except ValueError as error:
        raise InvalidValue("--tls-cert", str(chain), "must be a certificate in PEM form, then its chain") from error
    if leaf.not_valid_after_utc <= _now():
        raise InvalidValue("--tls-cert", str(chain), f"it expired at {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, _no_password)
    except (ssl.SSLError, ValueError) as error:
        rule = f"must be the key of {chain} in PEM form, without a password ({error})"
        raise InvalidValue("--tls-key", str(key), rule) from error
    return Certificate(chain, key)


def self_signed(names: Sequence[str], folder: Path) -> Certificate:
    """A development certificate for these names and addresses; it and its CA are kept in `folder` for the next time.

    Safe to call from many processes.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    names = sorted({name.encode("idna").decode() if not name.isascii() else name.lower() for name in names})
    digest = hashlib.sha256("\0".join(names).encode()).hexdigest()[:16]
    file, ca_file = folder / f"server-{digest}.pem", folder / "ca.pem"

    def renew() -> None:
        authority, authority_key = _authority(folder / "ca-key.pem")
        ca_pem = _pem(authority)
        if not ca_file.exists() or ca_file.read_bytes() != ca_pem:
            _replace(ca_file, ca_pem)
        if not _is_good(file, authority):
            key = ec.generate_private_key(ec.SECP256R1())
            leaf = _signed(names, key, authority, authority_key)
            _replace(file, _pem(leaf) + ca_pem + _key_pem(key))

    renew()
    return Certificate(file, file, ca_file, renew)


def _authority(file: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The CA in a file of its certificate and key, made where there is none or its end is near."""
    for _ in range(2):
        if file.exists():
            content = file.read_bytes()
            authority = x509.load_pem_x509_certificate(content)
            key = serialization.load_pem_private_key(content, None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise InvalidValue("the CA", str(file), "is not one that amlstore made; move it away")
            if authority.not_valid_after_utc - _now() > _LIFETIME:
                return authority, key
            file.unlink()
        _make_authority(file)
    raise InvalidValue("the CA", str(file), "ends too soon; is the clock of this machine right?")


def _make_authority(file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # A name of its own: clients that still have an older CA look an issuer up by name.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{CA_NAME} {token_hex(4)}")])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    authority = (
        _begun(name, name, key, _CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    mine = _temporary(file)
    write_private(mine, _pem(authority) + _key_pem(key))
    try:
        os.link(mine, file)
    except FileExistsError:
        pass  # another process was first
    finally:
        mine.unlink()


def _signed(
    names: Sequence[str],
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "amlstore")])
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    return (
        _begun(subject, authority.subject, key, _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _CLOCK_SKEW)
        .not_valid_after(_now() + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _is_good(file: Path, authority: x509.Certificate) -> bool:
    try:
        leaf = x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError):
        return False
    return leaf.issuer == authority.subject and leaf.not_valid_after_utc - _now() > _RENEW_WHEN_LEFT


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _replace(file: Path, content: bytes) -> None:
    mine = _temporary(file)
    write_private(mine, content)
    mine.replace(file)


def _temporary(file: Path) -> Path:
    return file.with_name(f".{file.name}.{token_hex(8)}")


def _no_password() -> str:
    raise ValueError("there is nobody to ask for one")


def _now() -> datetime:
    return datetime.now(timezone.utc)
