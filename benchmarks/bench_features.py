"""How long do features of 1, 32 and 512 users take over gRPC, against a bare redis-py pipeline and against Feast's
Redis online store?

All on one redis-server over TCP, interleaved in one run, medians:

- ours: `BatchGetUserFeatures` in columns from a blocking client, the answer parsed and both matrices as numpy arrays;
- bare: a redis-py pipeline (hiredis) of one `MGET` a user for the same two values, undecoded: the floor of a reader in
  Python;
- Feast: `get_online_features` in its own process, without a server between, for vectors of the same sizes and a count.

It does not measure the network between machines, nor users whose ALS vector must be folded in. Feast is installed from
PyPI into ``run/feast`` the first time (a few minutes); ``--no-feast`` leaves it out.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import redis

from embedding_service.redis_store.embedded import redis_executable
from embedding_service.redis_store.keys import UserKeys
from tests.support.processes import Service, free_port, running
from tests.support.releases import product_id, unit_vectors, write_random_release
from twotower.features import quantize
from twotower.release import Release
from twotower.rpc import open_channel
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from twotower.wire import fixed_point_to_bytes, to_vector

USERS = 4096
BATCHES = (1, 32, 512)
FEAST = Path("run/feast")


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """host:port of a redis-server without persistence: reading is measured."""
    port = free_port()
    command = [
        str(redis_executable()),
        "--port",
        str(port),
        "--dir",
        str(folder),
        "--save",
        "",
        "--logfile",
        str(folder / "redis.log"),
    ]
    process = subprocess.Popen(command)
    try:
        client = redis.Redis(port=port)
        for _ in range(100):
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def imports(release: Release) -> Iterator[pb.ImportUsersRequest]:
    """4,096 users of two reviews."""
    rng = np.random.default_rng(0)
    space = types_pb2.EmbeddingSpace(encoder_id=release.manifest.encoder_id, als_id=release.manifest.als_id)
    yield pb.ImportUsersRequest(header=pb.ImportHeader(release_id=release.release_id, space=space, user_count=USERS))
    for start in range(0, USERS, 512):
        batch = pb.ImportBatch()
        for index in range(start, start + 512):
            user = batch.users.add(user_id=f"user {index}", als=to_vector(rng.normal(size=64).astype(np.float32)))
            for number, vector in enumerate(quantize(unit_vectors(rng, 2))):
                fixed_point = fixed_point_to_bytes(vector)
                user.reviews.add(
                    review_id=f"r{number}", product_id=product_id(number), rating=4, fixed_point=fixed_point
                )
        yield pb.ImportUsersRequest(batch=batch)


def ours(stub: EmbeddingServiceStub, users: list[str]) -> None:
    """One call, its answer as arrays."""
    columns = stub.BatchGetUserFeatures(
        pb.BatchGetUserFeaturesRequest(user_ids=users, layout=pb.FEATURE_LAYOUT_COLUMNS)
    ).columns
    bert, als = (
        np.frombuffer(columns.bert_means, "<f4").reshape(-1, 384),
        np.frombuffer(columns.als, "<f4").reshape(-1, 64),
    )
    assert len(bert) == len(als) == len(users)


def bare(client: redis.Redis, release: Release, users: list[str]) -> None:
    """One pipeline, its replies as they are."""
    pipeline = client.pipeline(transaction=False)
    for keys in map(UserKeys, users):
        pipeline.mget(keys.accumulator(release.manifest.encoder_id), keys.als(release.manifest.als_id))
    assert all(accumulator for accumulator, _ in pipeline.execute())


class Feast:
    """Feast in a process of its own environment."""

    def __init__(self, folder: Path, address: str, users: list[str]) -> None:
        python = FEAST.absolute() / "bin" / "python"
        if not (FEAST / ".installed").exists():
            print("installing Feast into run/feast ...", flush=True)
            venv.create(FEAST, with_pip=True, clear=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", "feast[redis]"], check=True)
            (FEAST / ".installed").touch()
        rng = np.random.default_rng(1)
        np.save(folder / "bert.npy", rng.normal(size=(len(users), 384)).astype(np.float32))
        np.save(folder / "als.npy", rng.normal(size=(len(users), 64)).astype(np.float32))
        (folder / "users.json").write_text(json.dumps(users))
        script = Path(__file__).with_name("feast_online.py")
        environment = {**os.environ, "FEAST_USAGE": "False"}
        command = [str(python), "-W", "ignore", str(script), str(folder), address]
        log = (folder / "feast.log").open("w")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        assert self._answer()["ready"]
        self.version = subprocess.check_output(
            [str(python), "-c", "import importlib.metadata as m; print(m.version('feast'))"], text=True
        )

    def read(self, users: list[str]) -> float:
        """Milliseconds of one read, measured in its process."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"users": users}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        assert answer["rows"] == len(users)
        return float(answer["ms"])

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise SystemExit("Feast ended; see feast.log")


def milliseconds(call: Callable[[], None]) -> float:
    """Of one call."""
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def measure(
    stub: EmbeddingServiceStub, client: Any, release: Release, feast: Feast | None, rounds: int
) -> dict[int, dict[str, float]]:
    """Medians in ms of interleaved calls, by batch size and party."""
    rng = np.random.default_rng(2)
    medians = {}
    for size in BATCHES:
        times: dict[str, list[float]] = {"ours": [], "bare": [], "feast": []}
        for _ in range(rounds):
            users = [f"user {index}" for index in rng.choice(USERS, size, replace=False).tolist()]
            times["ours"].append(milliseconds(lambda users=users: ours(stub, users)))  # type: ignore[misc] # bound at once
            times["bare"].append(milliseconds(lambda users=users: bare(client, release, users)))  # type: ignore[misc]
            if feast:
                times["feast"].append(feast.read(users))
        medians[size] = {name: statistics.median(values) for name, values in times.items() if values}
    return medians


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--no-feast", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twotower-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        address = stack.enter_context(redis_server(folder))
        release = write_random_release(folder / "releases", products=600)
        options = ("--store", f"redis://{address}", "--releases", folder / "releases")
        service = Service("tests.support.hash_service", folder / "log", *options)
        stack.enter_context(running(service))
        channel = stack.enter_context(open_channel(service.address))
        stub = EmbeddingServiceStub(channel)
        stub.ImportUsers(imports(release), timeout=120, wait_for_ready=True)
        feast = None if arguments.no_feast else Feast(folder, address, [f"user {index}" for index in range(USERS)])
        if feast:
            stack.callback(feast.close)
        client = redis.Redis.from_url(f"redis://{address}")
        measure(stub, client, release, feast, 5)
        medians = measure(stub, client, release, feast, arguments.rounds)
        report(medians, feast)


def report(medians: dict[int, dict[str, float]], feast: Feast | None) -> None:
    """A table, and the JSON line."""
    versions = f"grpcio {version('grpcio')}, redis-py {version('redis')}" + (
        f", feast {feast.version.strip()}" if feast else ""
    )
    print(
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; Python "
        f"{sys.version.split()[0]}, {versions}"
    )
    print(f"{'users':>6}" + "".join(f"{name + ' ms':>12}" for name in medians[1]))
    for size, row in medians.items():
        print(f"{size:>6}" + "".join(f"{value:>12.2f}" for value in row.values()))
    figures: dict[str, float | None] = {
        f"over_bare_{size}": round(row["ours"] / row["bare"], 3) for size, row in medians.items()
    }
    figures["vs_feast"] = round(medians[512]["feast"] / medians[512]["ours"], 3) if feast else None
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
