"""Tokens: what they open, how long they live, and what ends them."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest

from mlflow_amlstore.errors import TokenRefused
from mlflow_amlstore.records.store import RecordStore
from mlflow_amlstore.service import auth
from mlflow_amlstore.service.access import Caller, Role, TokenUse
from mlflow_amlstore.service.auth import Tokens, bearer_of
from mlflow_amlstore.service.keys import new_key
from mlflow_amlstore.service.secret import local_key
from mlflow_amlstore.workspace.opening import create_workspace

SECRET = b"s" * 32
HOUR = 3600
DAY = 24 * HOUR


@dataclass
class Clock:
    now_s: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def records(tmp_path: Path) -> RecordStore:
    return create_workspace(tmp_path / "workspace").records


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(records: RecordStore, clock: Clock) -> Tokens:
    return Tokens(records, SECRET, HOUR, now_s=clock)


@pytest.fixture(autouse=True)
def _revocations_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_REVOCATIONS_READ_EVERY_S", 0)


def test_a_key_is_exchanged_for_a_token_of_its_role(records: RecordStore, tokens: Tokens, clock: Clock) -> None:
    record, text = new_key(records, "ci", "contributor")

    issued, role = tokens.exchange_key(text)

    assert role is Role.CONTRIBUTOR
    assert tokens.caller_of(issued.text) == Caller(record.key_id, Role.CONTRIBUTOR, int(clock()), TokenUse.ACCESS)
    assert issued.expires_s == clock() + HOUR


def test_whoever_can_read_the_folder_is_its_owner(tokens: Tokens) -> None:
    issued, role = tokens.exchange_key(local_key(SECRET))

    assert role is Role.OWNER
    assert tokens.caller_of(issued.text).key_id == "local"


@pytest.mark.parametrize("text", ["", "amlk_", "amlk_000000000000_" + "a" * 43, "ключ", local_key(b"t" * 32)])
def test_what_is_no_key_of_this_workspace_is_refused_without_being_repeated(tokens: Tokens, text: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        tokens.exchange_key(text)
    assert not text or text not in str(refused.value)


class TestSigningOut:
    def session_of(self, tokens: Tokens) -> str:
        """The token of a new session of the same key."""
        access, _ = tokens.exchange_key(local_key(SECRET))
        return tokens.session_token(tokens.caller_of(access.text)).text

    def test_it_ends_all_tokens_of_the_session_and_no_other(self, tokens: Tokens, clock: Clock) -> None:
        first, other = self.session_of(tokens), self.session_of(tokens)
        assert tokens.form_token(first) != tokens.form_token(other)
        clock.now_s += HOUR * 3 / 4
        longer = tokens.prolonged(first)
        assert longer is not None
        assert tokens.form_token(longer.text) == tokens.form_token(first)
        tokens.end_session(tokens.caller_of(longer.text))
        for token in (first, longer.text):
            with pytest.raises(TokenRefused, match="ended by signing out"):
                tokens.caller_of(token)
        assert tokens.caller_of(other).use is TokenUse.SESSION

    def test_it_is_known_no_longer_than_a_token_could_live(self, tokens: Tokens, clock: Clock) -> None:
        for _ in range(3):
            tokens.end_session(tokens.caller_of(self.session_of(tokens)))
            clock.now_s += auth.LONGEST_SESSION_S
        assert len(tokens._ended) == 1

    def test_a_token_of_another_use_ends_no_session(self, tokens: Tokens) -> None:
        access, _ = tokens.exchange_key(local_key(SECRET))
        caller = tokens.caller_of(access.text)
        tokens.end_session(caller)
        assert tokens.caller_of(access.text) == caller


def test_a_tracking_token_is_for_tracking_and_never_an_owners(tokens: Tokens) -> None:
    owner = tokens.caller_of(tokens.exchange_key(local_key(SECRET))[0].text)

    caller = tokens.caller_of(tokens.tracking_token(owner).text)

    assert caller.use is TokenUse.TRACKING
    assert caller.role is Role.CONTRIBUTOR


def test_an_expired_token_is_refused_with_the_time_of_its_end(tokens: Tokens, clock: Clock) -> None:
    issued = tokens.shown_tracking_token()
    clock.now_s += HOUR

    with pytest.raises(TokenRefused, match=r"The tracking URI expired at 2023-11-14T23:13:20Z\. Get a fresh tracking"):
        tokens.caller_of(issued.text)


def test_a_living_tracking_token_is_renewed_for_thirty_days_and_no_longer(tokens: Tokens, clock: Clock) -> None:
    began = clock()
    issued = tokens.shown_tracking_token()
    while clock() + HOUR / 2 < began + 30 * DAY:
        clock.now_s += HOUR / 2
        issued = tokens.tracking_token(tokens.caller_of(issued.text))

    assert issued.expires_s == began + 30 * DAY
    clock.now_s = began + 30 * DAY
    with pytest.raises(TokenRefused, match="expired at"):
        tokens.caller_of(issued.text)
    with pytest.raises(TokenRefused, match="renewed for 30 days"):
        tokens.tracking_token(Caller("local", Role.OWNER, int(began), TokenUse.TRACKING))


def test_revoking_a_key_ends_its_tokens_and_their_renewals(records: RecordStore, tokens: Tokens) -> None:
    record, text = new_key(records, "ci", "contributor")
    access = tokens.exchange_key(text)[0]
    tracking = tokens.tracking_token(tokens.caller_of(access.text))
    records.keys.revoke(record.key_id)

    for token in (access, tracking):
        with pytest.raises(TokenRefused, match="The key behind this token or URL was revoked"):
            tokens.caller_of(token.text)
    with pytest.raises(TokenRefused, match="was revoked"):
        tokens.exchange_key(text)


def test_a_restart_ends_no_token_and_another_secret_ends_all(
    records: RecordStore, tokens: Tokens, clock: Clock
) -> None:
    issued = tokens.shown_tracking_token()

    assert Tokens(records, SECRET, HOUR, now_s=clock).caller_of(issued.text).role is Role.CONTRIBUTOR
    with pytest.raises(TokenRefused, match="not issued by this service, or was changed"):
        Tokens(records, b"t" * 32, HOUR, now_s=clock).caller_of(issued.text)


def test_a_token_of_another_workspace_is_refused(tmp_path: Path, tokens: Tokens, clock: Clock) -> None:
    other = Tokens(create_workspace(tmp_path / "other").records, SECRET, HOUR, now_s=clock)

    with pytest.raises(TokenRefused, match="The token is for another workspace"):
        tokens.caller_of(other.shown_tracking_token().text)


def _part(claims: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()


def test_forged_tokens_are_refused(records: RecordStore, tokens: Tokens) -> None:
    good = tokens.shown_tracking_token().text
    header, payload, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    owner = {**claims, "role": "owner"}
    forged = {
        "payload changed": f"{header}.{_part(owner)}.{signature}",
        "alg=none": f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(owner)}.",
        "alg=None with the signature": f"{_part({'alg': 'None', 'typ': 'JWT'})}.{payload}.{signature}",
        "another algorithm": jwt.encode(owner, SECRET * 2, algorithm="HS512"),
        "signature cut": good[:-2],
        "no signature": f"{header}.{payload}.",
        "not a JWT": "token",
        "no expiry": jwt.encode({k: v for k, v in claims.items() if k != "exp"}, SECRET, algorithm="HS256"),
        "another issuer": jwt.encode({**claims, "iss": "x"}, SECRET, algorithm="HS256"),
        "an unknown use": jwt.encode({**claims, "use": "deploying"}, SECRET, algorithm="HS256"),
        "an unknown role": jwt.encode({**claims, "role": "god"}, SECRET, algorithm="HS256"),
    }
    for name, token in forged.items():
        with pytest.raises(TokenRefused):
            pytest.fail(f"{name} was taken: {tokens.caller_of(token)}")


def test_clocks_that_were_ahead_when_the_token_was_issued_do_no_harm(records: RecordStore, clock: Clock) -> None:
    ahead = Tokens(records, SECRET, HOUR, now_s=Clock(clock() + 120))
    behind = Tokens(records, SECRET, HOUR, now_s=Clock(clock() - 120))
    here = Tokens(records, SECRET, HOUR, now_s=clock)

    for issuer in (ahead, behind):
        assert here.caller_of(issuer.shown_tracking_token().text).use is TokenUse.TRACKING


@pytest.mark.parametrize("header", [None, "", "Basic dXNlcjpwYXNz", "Bearer", "Bearer  ", "token"])
def test_a_call_without_a_bearer_is_told_what_it_needs(header: str | None) -> None:
    with pytest.raises(TokenRefused, match="needs the header `Authorization: Bearer TOKEN`"):
        bearer_of(header)


def test_the_kind_of_credential_is_read_in_any_case() -> None:
    assert bearer_of(" bEARER  abc ") == "abc"
