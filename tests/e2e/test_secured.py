"""Both services with TLS, client certificates, tokens and roles: whatever calls them gets by, and nobody else."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clients import ChannelTls, TwotowerClient
from clients.errors import PermissionDenied, Unauthenticated, Unavailable
from tests.support.authority import Authority
from tests.support.processes import Service, running
from tests.support.tokens import Signer, write_keys
from tests.support.trained import train_tiny

TWOTOWER = Path(sys.executable).with_name("twotower")


@dataclass
class Secured:
    """Two running services without a release, and who may call them.

    Attributes:
        where: addresses, by the arguments of clients.
        tls: certificates of a client.
        tokens: role → file of a token.
        variables: what a shell of an operator has.
        release: the folder of a trained release.
    """

    where: dict[str, Any]
    tls: ChannelTls
    tokens: dict[str, Path]
    variables: dict[str, str]
    release: Path

    def run(self, *command: object, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run ``twotower …`` in that shell."""
        return subprocess.run(
            [TWOTOWER, *map(str, command)], env=self.variables | more, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def secured(encoder_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    (folder / "cache").mkdir()
    release = train_tiny(folder / "releases", folder / "cache", encoder_path)
    authority, signer = Authority(folder), Signer()
    server, client = authority.issue("server"), authority.issue("client")
    tokens = {role: folder / f"{role}.jwt" for role in ("reader", "writer", "operator")}
    for role, path in tokens.items():
        path.write_text(signer.token(role, sub=f"{role} of the shop"))
    common: list[object] = [
        "--releases",
        folder / "releases",
        "--tls-certificate",
        server.certificate,
        "--tls-key",
        server.key,
    ]
    common += ["--tls-client-ca", authority.path, "--auth-keys", write_keys(folder / "keys.json", signer)]
    embedding = Service("embedding_service", folder / "embedding.log", *common, "--data-dir", folder / "r", tls=client)
    upstream: list[object] = [
        "--embedding",
        embedding.address,
        "--embedding-admin",
        embedding.admin_address,
        "--embedding-tls",
    ]
    upstream += ["--embedding-ca", authority.path, "--embedding-certificate", client.certificate]
    upstream += ["--embedding-key", client.key, "--embedding-token-file", tokens["operator"]]
    ranking = Service("ranking_service", folder / "ranking.log", *common, *upstream, tls=client)
    where = {
        "ranking": ranking.address,
        "embedding": embedding.address,
        "admin_ranking": ranking.admin_address,
        "admin_embedding": embedding.admin_address,
    }
    files = {"tls_ca": client.ca, "tls_certificate": client.certificate, "tls_key": client.key}
    files |= {"token_file": tokens["operator"]}
    settings = {f"TWOTOWER_{name.upper()}": str(value) for name, value in {**where, **files}.items()}
    variables = {"PYTHONPATH": ":".join(sys.path), "HOME": str(folder), **settings}
    with running(embedding, ranking):
        for service in (embedding, ranking):
            service.wait_until("NOT_SERVING")
        yield Secured(where, client, tokens, variables, release)


def test_commands_sdk_and_health_check(secured: Secured) -> None:
    replayed = secured.run("replay", secured.release, "--json")
    assert replayed.returncode == 0, replayed.stderr
    assert json.loads(replayed.stdout)["equal"]
    published = secured.run("publish", "latest", "--releases", secured.release.parent, "--json")
    assert published.returncode == 0, published.stderr
    user = "Zoë"
    for command in (
        ("recommend", user),
        ("review", "add", "--user", user, "--product", "SYN00010", "--rating", "5"),
        ("user", "show", user),
        ("release", "list"),
        ("product", "withdraw", "SYN00010"),
        ("user", "delete", user, "--yes"),
    ):
        done = secured.run(*command, "--json")
        assert done.returncode == 0, done.stderr
    for name in ("ranking", "embedding", "admin_ranking", "admin_embedding"):
        health = [sys.executable, "-m", "twotower.health", secured.where[name], "--timeout", "10"]
        assert subprocess.run(health, env=secured.variables, check=False).returncode == 0

    with TwotowerClient(**secured.where, tls=secured.tls, token_file=secured.tokens["reader"]) as client:
        assert client.recommend(user).user.degraded is False
        with pytest.raises(PermissionDenied, match="requires the role writer; the caller has the role reader"):
            client.record_review(user, "SYN00010", 5)
        with pytest.raises(PermissionDenied, match="requires the role operator; the caller has the role reader"):
            client.list_releases()
    with TwotowerClient(**secured.where, tls=secured.tls, token_file=secured.tokens["writer"]) as client:
        client.record_review(user, "SYN00010", 5)
        with pytest.raises(PermissionDenied, match="requires the role operator; the caller has the role writer"):
            client.delete_user(user)


def test_who_is_not_known_is_told_what_to_set(secured: Secured) -> None:
    refused = pytest.raises(Unauthenticated, match=r"no token was sent: .*say who calls by --token-file")
    with TwotowerClient(**secured.where, tls=secured.tls, token_file=False) as client, refused:
        client.recommend("Zoë")
    closed = pytest.raises(Unavailable, match=r"does it ask for a client's certificate")
    with TwotowerClient(**secured.where, tls=ChannelTls(secured.tls.ca), token_file=False) as client, closed:
        client.recommend("Zoë", timeout_s=20)
    publish = ("publish", secured.release, "--json")
    for variables, words in (
        ({"TWOTOWER_TOKEN_FILE": ""}, "UNAUTHENTICATED: no token was sent"),
        (
            {"TWOTOWER_TOKEN_FILE": str(secured.tokens["writer"])},
            "PERMISSION_DENIED: the call requires the role operator",
        ),
        ({"TWOTOWER_TLS_CA": "", "TWOTOWER_TLS_CERTIFICATE": "", "TWOTOWER_TLS_KEY": ""}, "does it ask for TLS?"),
        ({"TWOTOWER_TLS_CERTIFICATE": "", "TWOTOWER_TLS_KEY": ""}, "does it ask for a client's certificate"),
        ({"TWOTOWER_ADMIN_EMBEDDING": secured.where["embedding"]}, "the service's setting admin_listen"),
    ):
        done = secured.run(*publish, **variables)
        assert done.returncode == 1
        assert words in json.loads(done.stderr.splitlines()[-1])["error"]["message"]
