"""Three real Redis Cluster nodes with a replica each, on this machine; TLS, ACL and Sentinel are other tests'
business.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import redis
from grpc_health.v1 import health_pb2

from embedding_service.operations.verify import Verifier
from embedding_service.ports import Outcome
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import redis_executable
from embedding_service.redis_store.keys import UserKeys, slot_of_tag
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.embedding_calls import (
    StartService,
    array,
    features,
    health,
    imported_user,
    live_popularity,
    publish,
    record,
    until_answered,
)
from tests.support.encoders import hash_vector
from tests.support.processes import free_port
from tests.support.releases import product_id
from tests.support.stored_reviews import ENCODER, SPACE, new_review
from twotower.errors import StoreUnavailable
from twotower.features import running_mean
from twotower.release import Release
from twotower.v1 import embedding_service_pb2 as pb

PRIMARIES = 3


class Cluster:
    """Three primaries and a replica of each."""

    def __init__(self, folder: Path) -> None:
        # The cluster bus takes the port plus 10,000.
        self.ports = [port for port in (free_port() for _ in range(1000)) if port < 50_000][: 2 * PRIMARIES]
        assert len(set(self.ports)) == 2 * PRIMARIES
        self._folder = folder
        self.is_formed = False
        self.processes = {port: self._start(folder, port) for port in self.ports}
        self.url = f"redis+cluster://127.0.0.1:{self.ports[0]}"

    @staticmethod
    def _start(folder: Path, port: int) -> "subprocess.Popen[bytes]":
        home = folder / str(port)
        home.mkdir(exist_ok=True)
        options = {
            "port": port,
            "dir": home,
            "logfile": home / "redis.log",
            "appendonly": "yes",
            "save": "",
            "cluster-enabled": "yes",
            "cluster-node-timeout": 1000,
            "cluster-replica-validity-factor": 0,
            "repl-diskless-sync": "yes",
            "repl-diskless-sync-delay": 0,
        }
        return subprocess.Popen(
            [str(redis_executable()), *(str(part) for name, value in options.items() for part in (f"--{name}", value))]
        )

    def client(self, port: int) -> "redis.Redis":
        """Of one node."""
        return redis.Redis(port=port, decode_responses=True)

    async def form(self) -> None:
        """Meet, share the slots, replicate; returns when every node says that all is well."""
        for port in self.ports:
            await _until(lambda port=port: self.client(port).ping())
        for number, port in enumerate(self.ports):
            client = self.client(port)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            if number < PRIMARIES:
                bounds = [16384 * part // PRIMARIES for part in (number, number + 1)]
                client.execute_command("CLUSTER ADDSLOTS", *range(*bounds))
            if number:
                client.execute_command("CLUSTER MEET", "127.0.0.1", self.ports[0])
        ids = {port: self.client(port).execute_command("CLUSTER MYID") for port in self.ports}
        for primary, replica in zip(self.ports[:PRIMARIES], self.ports[PRIMARIES:], strict=True):
            await _until(
                lambda of=ids[primary], port=replica: of in str(self.client(port).execute_command("CLUSTER NODES"))
            )
            self.client(replica).execute_command("CLUSTER REPLICATE", ids[primary])
        for replica in self.ports[PRIMARIES:]:
            await _until(lambda port=replica: self.client(port).info("replication")["master_link_status"] == "up")
        for port in self.ports:
            await _until(lambda port=port: self.client(port).execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        self.is_formed = True

    async def fail_over(self, number: int) -> None:
        """kill -9 a primary; when its replica has taken over, the dead one comes back as the replica."""
        primary, replica = self.ports[number], self.ports[PRIMARIES + number]
        os.kill(self.processes[primary].pid, signal.SIGKILL)
        self.processes[primary].wait()
        await _until(lambda: self.client(replica).info("replication")["role"] == "master")
        self.processes[primary] = self._start(self._folder, primary)

    def stop(self) -> None:
        """End all."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()


async def _until(probe: Callable[..., object]) -> None:
    while True:
        with contextlib.suppress(redis.RedisError, KeyError):
            if probe():
                return
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The nodes, not yet a cluster."""
    servers = Cluster(tmp_path_factory.mktemp("cluster"))
    yield servers
    servers.stop()


@pytest.fixture
async def cluster(servers: Cluster) -> Cluster:
    """The cluster of this module's tests."""
    if not servers.is_formed:
        await servers.form()
    return servers


async def test_a_cluster_serves_like_one_server_and_survives_a_failover(
    start_service: StartService, cluster: Cluster, release: Release
) -> None:
    service = await start_service(store=cluster.url, redis_wait_replicas=1, redis_timeout_ms=1000)
    users = [f"user {i}" for i in range(12)]
    await publish(service, release, [imported_user(user, ["a", "b"]) for user in users])
    await health(service, health_pb2.HealthCheckResponse.SERVING)
    answer = await service.stub.BatchGetUserFeatures(pb.BatchGetUserFeaturesRequest(user_ids=users))
    assert {found.review_count for found in answer.features} == {2}
    for i, user in enumerate(users):
        await record(service, "live", user, product_id(i % 3))
    assert dict(zip(*_counts(await live_popularity(service)), strict=True)) == {product_id(i): 4 for i in range(3)}

    acknowledged = 0
    failing_over = None
    for number in range(60):
        if number == 10:
            failing_over = asyncio.create_task(cluster.fail_over(1))
        user = users[number % len(users)]
        await until_answered(partial(record, service, f"n{number}", user, product_id(7)))
        acknowledged += 1
    assert failing_over is not None
    await failing_over
    for row, user in enumerate(users):
        texts = [
            "a",
            "b",
            "Fine text of live",
            *(f"Fine text of n{number}" for number in range(row, acknowledged, len(users))),
        ]
        found = await until_answered(partial(features, service, user))
        assert found.review_count == len(texts)
        sums = np.sum([hash_vector(text) for text in texts], axis=0, dtype=int)
        np.testing.assert_array_equal(array(found.bert_mean), running_mean(sums, len(texts)))
    counted = dict(zip(*_counts(await until_answered(lambda: live_popularity(service))), strict=True))
    assert counted[product_id(7)] == len(users)  # one per user and day

    store = RedisUserStore(connect(cluster.url, timeout_s=5.0, connections=4))
    verified = await Verifier(store).verify()
    assert verified.clean, verified
    assert (await service.stub.DeleteUser(pb.DeleteUserRequest(user_id=users[0]))).deleted
    await store.close()


async def test_more_callers_than_connections_wait_for_one(cluster: Cluster) -> None:
    client = connect(cluster.url, timeout_s=30.0, connections=2)

    async def call(number: int) -> None:
        key = f"tt:{{caller {number}}}"
        assert await client.send([("SET", key, number), ("GET", key)]) == [True, str(number).encode()]

    await asyncio.gather(*(call(number) for number in range(200)))
    await client.close()


async def test_a_slot_that_moves_loses_and_delays_nobody(cluster: Cluster) -> None:
    store = RedisUserStore(connect(cluster.url, timeout_s=5.0, connections=8))
    await store.register_space(SPACE)
    users = [f"mover {i}" for i in range(8)]
    slot = slot_of_tag(f"u:{users[0]}")
    primaries = [port for port in cluster.ports if cluster.client(port).info("replication")["role"] == "master"]
    source = primaries[0]
    try:
        cluster.client(source).set(UserKeys(users[0]).tombstones + "?", 1)
    except redis.exceptions.MovedError as moved:
        source = moved.port
    target = next(port for port in primaries if port != source)
    ids = {port: cluster.client(port).execute_command("CLUSTER MYID") for port in (source, target)}
    stop = asyncio.Event()
    written = dict.fromkeys(users, 0)

    async def write(number: int) -> None:
        user = users[number % len(users)]
        while not stop.is_set():
            review = new_review(f"r{number} {written[user]}", f"p{number}", user_id=user)
            [change] = await store.record(ENCODER, [review])
            assert change.outcome is Outcome.RECORDED
            written[user] += 1
            assert (await store.read(SPACE, [user])).counts[0] > 0

    async with asyncio.TaskGroup() as writers:
        for number in range(64):
            writers.create_task(write(number))
        await asyncio.sleep(0.3)
        cluster.client(target).execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
        cluster.client(source).execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
        while keys := cluster.client(source).execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
            for key in keys:
                cluster.client(source).execute_command("MIGRATE", "127.0.0.1", target, key, 0, 5000)
                await asyncio.sleep(0.01)
        for port in (target, source):
            cluster.client(port).execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])
        await asyncio.sleep(0.3)
        stop.set()
    assert (await store.read(SPACE, users)).counts.tolist() == list(written.values())
    await store.close()


async def test_a_primary_that_hangs_is_left_when_its_replica_is_promoted(cluster: Cluster) -> None:
    client = connect(cluster.url, timeout_s=0.5, connections=4)
    number = 2
    primary, replica = cluster.ports[number], cluster.ports[PRIMARIES + number]
    keys = [f"tt:{{{i}}}" for i in range(20)]  # some of them on that primary
    await client.send([("SET", key, "a") for key in keys])
    os.kill(cluster.processes[primary].pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            await client.send([("GET", key) for key in keys])
        await _until(lambda: cluster.client(replica).info("replication")["role"] == "master")
        for _ in range(20):
            with contextlib.suppress(StoreUnavailable):
                assert await client.send([("GET", key) for key in keys]) == [b"a"] * 20
                break
        else:
            pytest.fail("the replica that was promoted is never asked")
    finally:
        os.kill(cluster.processes[primary].pid, signal.SIGCONT)
    await client.close()


def _counts(response: pb.GetPopularityResponse) -> tuple[list[str], list[int]]:
    return list(response.product_ids), [round(float(weight)) for weight in array(response.weights)]
