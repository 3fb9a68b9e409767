"""Tokens and certificates that are believed, and those that are not."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.tokens import Signer, bearer, write_keys
from twotower.access import Role
from twotower.errors import InvalidFile, Unauthenticated
from twotower.identity import Certificates, Identities, Tokens


def tokens(folder: Path, *signers: Signer, **options: Any) -> Tokens:
    return Tokens(write_keys(folder / "keys.json", *signers), "twotower", **options)


@pytest.mark.parametrize("algorithm", ["EdDSA", "ES256", "RS256"])
def test_a_signed_token_names_its_owner_and_the_highest_role(tmp_path: Path, algorithm: str) -> None:
    signer = Signer("k", algorithm)
    verifier = tokens(tmp_path, Signer("other"), signer)
    for roles, highest in (
        (["reader"], Role.READER),
        (["writer", "reader"], Role.WRITER),
        (["operator", "reader", "of other services"], Role.OPERATOR),
        (["admin"], None),
        ([], None),
    ):
        caller = verifier.caller(signer.token(*roles))
        assert (caller.name, caller.role) == ("ann", highest)
    assert verifier.caller(signer.token(roles="writer")).role is Role.WRITER


def test_tokens_that_are_not_believed(tmp_path: Path) -> None:
    signer, foreign = Signer("k1"), Signer("k1")
    verifier = tokens(tmp_path, signer, issuer="us")
    good = {"iss": "us"}
    assert verifier.caller(signer.token("reader", **good)).name == "ann"
    part = signer.token("reader", **good).split(".")
    claims = b'{"sub":"eve","roles":["operator"],"iss":"us","aud":"twotower","exp":9999999999}'
    operator = base64.urlsafe_b64encode(claims).decode()
    public = json.dumps(signer.jwk())
    for token, sentence in (
        (foreign.token("operator", **good), "not valid"),
        (Signer("k2").token("operator", **good), "kid is not in auth_keys"),
        (signer.token("reader", **good, exp=time.time() - 11), "has expired"),
        (signer.token("reader", **good, exp=None), "exp"),
        (signer.token("reader", **good, sub=None), "sub"),
        (signer.token("reader", **good, aud=None), "aud"),
        (signer.token("reader", **good, aud="others"), "[Aa]udience"),
        (signer.token("reader", iss="them"), "[Ii]ssuer"),
        (signer.token("reader"), "iss"),
        (signer.token("reader", **good, nbf=time.time() + 60), "not yet valid"),
        (jwt.encode({"sub": "eve"}, "", "none", headers={"kid": "k1"}), "not valid"),
        (jwt.encode({"sub": "eve"}, "x" * 64, "HS256", headers={"kid": "k1"}), "not valid"),
        (".".join((part[0], operator.rstrip("="), part[2])), "not valid"),
        (".".join(part[:2]) + ".", "not valid"),
        ("x" * 9000, "longer than"),
        ("", "not valid"),
        ("a.b.c", "not valid"),
        ("\ud800", "not valid"),
        (public, "not valid"),
    ):
        with pytest.raises(Unauthenticated, match=sentence):
            verifier.caller(token)


def test_a_token_that_was_verified_ends_when_it_expires(tmp_path: Path) -> None:
    now, signer = [1000.0], Signer()
    verifier = tokens(tmp_path, signer, clock=lambda: now[0])
    token = signer.token("reader", exp=time.time() + 100)
    for _ in range(2):
        assert verifier.caller(token).name == "ann"
    now[0] = time.time() + 109
    assert verifier.caller(token).name == "ann"  # clocks may differ by ten seconds
    now[0] = time.time() + 111
    with pytest.raises(Unauthenticated, match="has expired"):
        verifier.caller(token)


def test_new_keys_are_used_without_a_restart_and_wrong_ones_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = Signer("old"), Signer("new")
    verifier = tokens(tmp_path, old)
    verifier.caller(old.token("reader"))
    looked = verifier._key_set
    for text in ("{", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}]}'):
        (tmp_path / "keys.json").write_text(text)
        for _ in range(3):
            looked._watch._look_at = 0  # as if a second had passed
            verifier.caller(old.token("reader"))
    assert sum("stays in use" in message for message in caplog.messages) == 3
    write_keys(tmp_path / "keys.json", new)
    looked._watch._look_at = 0
    verifier.caller(new.token("reader"))
    with pytest.raises(Unauthenticated):
        verifier.caller(old.token("reader"))


def test_files_of_keys_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    jwk = Signer().jwk()
    private: Any = jwt.get_algorithm_by_name("EdDSA")
    for text, sentence in (
        ("", "must be a JWKS file"),
        ("[]", "must be a JWKS file"),
        ('{"keys": {}}', "at least one key"),
        (json.dumps({"keys": [jwk, jwk]}), r"keys\[1\]: must have a kid, a text that no other key has"),
        (json.dumps({"keys": [{**jwk, "kid": 7}]}), r"keys\[0\]: must have a kid"),
        (json.dumps({"keys": [{**jwk, "alg": "HS256"}]}), "must be of Ed25519"),
        (json.dumps({"keys": [{**jwk, "x": "AAAA"}]}), "can't be read"),
        (json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}]}), "must be of Ed25519"),
        (json.dumps({"keys": [{**private.to_jwk(Signer().key, as_dict=True), "kid": "p"}]}), "public keys only"),
    ):
        path.write_text(text)
        with pytest.raises(InvalidFile, match=sentence):
            Tokens(path, "twotower")
    with pytest.raises(InvalidFile, match="can't be read: No such file"):
        Tokens(tmp_path / "none", "twotower")


def test_the_memory_of_tokens_is_bounded(tmp_path: Path) -> None:
    signer = Signer()
    verifier = tokens(tmp_path, signer)
    for number in range(4_200):
        verifier.caller(signer.token("reader", sub=str(number)))
    assert len(verifier._key_set().verified) <= 4_096


def test_certificates_have_the_roles_of_their_names(tmp_path: Path) -> None:
    path = tmp_path / "identities.toml"
    path.write_text('[identities]\n"spiffe://shop/ranking" = "operator"\n"web.internal" = "reader"\n')
    certificates = Certificates(path)
    for names, role in (
        ([b"web.internal"], Role.READER),
        ([b"127.0.0.1", b"web.internal", b"spiffe://shop/ranking"], Role.OPERATOR),
    ):
        caller = certificates.caller(names)
        assert caller
        assert caller.role is role
    for names in ([], [b"WEB.internal"], [b"x.web.internal"], [b"\xff"]):
        assert certificates.caller(names) is None
    for text, sentence in (
        ("", r"table \[identities\]"),
        ("[identities]\nann = 3", "ann: must be one of reader, writer, operator"),
        ('[identities]\nann = "root"', "ann: must be one of"),
        ("[identities", "TOML"),
    ):
        path.write_text(text)
        with pytest.raises(InvalidFile, match=sentence):
            Certificates(path)


def test_a_token_counts_before_a_certificate_and_a_bad_one_is_no_token(tmp_path: Path) -> None:
    signer = Signer()
    (tmp_path / "identities.toml").write_text('[identities]\n"web" = "reader"\n')
    both = Identities(tokens(tmp_path, signer), Certificates(tmp_path / "identities.toml"))
    shown = {"x509_subject_alternative_name": [b"web"]}
    assert both.caller(bearer(signer.token("writer")), lambda: shown).role is Role.WRITER
    assert both.caller((("user-agent", "x"),), lambda: shown).role is Role.READER
    for metadata, context in ((bearer("x"), shown), ((("authorization", "Basic eA=="),), shown), ((), {})):
        with pytest.raises(Unauthenticated):
            both.caller(metadata, lambda context=context: context)  # type: ignore[misc]
