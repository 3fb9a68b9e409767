"""Addresses, certificates, pings and reflection of a real server."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from tests.support.certificates import write_certificates
from twotower.errors import InvalidFile
from twotower.rpc import Server, ServerTls

COMMANDS = {"embedding_service": "EMBEDDING", "ranking_service": "RANKING"}


def test_an_empty_variable_is_an_unset_one() -> None:
    code = "from ranking_service.settings import RankingSettings as S; print(S(_cli_parse_args=[]).embedding)"
    environment = os.environ | {"TWOTOWER_RANKING_EMBEDDING": "", "TWOTOWER_RANKING_THREADS": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "127.0.0.1:50051\n"


@pytest.mark.parametrize("package", COMMANDS)
def test_a_taken_port_is_one_sentence(package: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", package, "--listen", address, "--releases", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 1
    last = done.stderr.rstrip("\n").split("\n")[-1]
    assert last == f"{package}: listen: can't listen on '{address}': address already in use"
    assert "Traceback" not in done.stderr


def test_certificate_and_key_that_do_not_fit_are_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_certificates(tmp_path / name)
    certificate, key = tmp_path / "one/certificate.pem", tmp_path / "one/key.pem"
    ServerTls(certificate, key, certificate).credentials()
    for wrong, sentence in (
        (ServerTls(key, certificate), "tls_certificate: must be a PEM file with a certificate"),
        (ServerTls(certificate, certificate), "tls_key: must be a PEM file with a private key"),
        (ServerTls(certificate, tmp_path / "two/key.pem"), "tls_key: must be the unencrypted private key of"),
        (ServerTls(certificate, tmp_path / "none"), "tls_key: can't be read: No such file"),
        (ServerTls(certificate, key, key), "tls_client_ca: must be a PEM file with a certificate"),
    ):
        with pytest.raises(InvalidFile, match=sentence):
            wrong.credentials()


async def test_reflection_answers_by_both_names() -> None:
    server = Server("127.0.0.1:0", [], lambda _: None, admin_listen="127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        answers: list[Any] = []
        for version in ("v1", "v1alpha"):
            call = channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
            answers.append(await call.read())
        assert answers[0] == answers[1]
        assert "grpc.health.v1.Health" in {service.name for service in answers[0].list_services_response.service}
    await server.stop()


async def test_frequent_pings_of_an_idle_client_are_tolerated() -> None:
    server = Server("127.0.0.1:0", [], lambda _: None, admin_listen="127.0.0.1:0")
    await server.start()
    pings = [("grpc.keepalive_time_ms", 1500), ("grpc.keepalive_permit_without_calls", 1)]
    options = [*pings, ("grpc.http2.max_pings_without_data", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        # A server that minds hangs up after the third ping; the state is then IDLE.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), 9)
    await server.stop()


def test_the_embedding_service_refuses_an_object_store(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "embedding_service", "--releases", "s3://bucket/releases"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("embedding_service: releases: must be a folder on this machine")
    assert list(tmp_path.iterdir()) == []
