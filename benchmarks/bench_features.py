"""Time that the features of 1, 32 and 512 users take over gRPC, against a bare redis-py pipeline and against Feast's
Redis online store.

All on one redis-server over TCP, interleaved in one run, medians:

- ours: `BatchGetUserFeatures` in columns from a blocking client, the answer parsed and both matrices as numpy arrays;
- bare: a redis-py pipeline (hiredis) of one `MGET` per user for the same two values, undecoded: the floor of a reader
  in Python;
- Feast: `get_online_features` in its own process, without a server between, for vectors of the same sizes and a count.

The network between machines is not measured, nor users whose ALS vector must be folded in. Feast is installed from PyPI
into ``run/feast`` the first time (a few minutes); ``--no-feast`` leaves it out.

The last line is JSON: `over_bare_<n>`, ours over bare for n users; `vs_feast`, how many times faster ours is for 512.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import redis

from benchmarks import rig
from embedding_service.redis_store.embedded import redis_executable
from embedding_service.redis_store.keys import UserKeys
from tests.support.channels import open_channels
from tests.support.importing import import_requests, user_id
from tests.support.processes import Service, free_port, running
from tests.support.releases import product_id, unit_vectors, write_random_release
from twotower.features import quantize
from twotower.release import Release
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from twotower.wire import fixed_point_to_bytes, to_vector

USERS: Final = [user_id(index) for index in range(4_096)]
BATCHES: Final = (1, 32, 512)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--no-feast", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twotower-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        address = stack.enter_context(_redis_server(folder))
        release = write_random_release(folder / "releases", products=rig.PRODUCTS)
        options = ("--store", f"redis://{address}", "--releases", folder / "releases")
        service = Service("tests.support.hash_service", folder / "log", *options)
        stack.enter_context(running(service))
        stub = EmbeddingServiceStub(stack.enter_context(open_channels(service.address, service.admin_address)))
        stub.ImportUsers(import_requests(release, _imported_users()), timeout=120, wait_for_ready=True)
        feast = None if arguments.no_feast else Feast(folder, address)
        if feast:
            stack.callback(feast.close)
        client = redis.Redis.from_url(f"redis://{address}")
        _measure(stub, client, release, feast, 5)
        _report(_measure(stub, client, release, feast, arguments.rounds), feast)


def _measure(
    stub: EmbeddingServiceStub, client: redis.Redis, release: Release, feast: "Feast | None", rounds: int
) -> dict[int, dict[str, float]]:
    """Medians in milliseconds of interleaved calls, by batch size and party."""
    rng = np.random.default_rng(2)
    medians = {}
    for size in BATCHES:
        times: dict[str, list[float]] = {"ours": [], "bare": [], "feast": []}
        for _ in range(rounds):
            users = [USERS[row] for row in rng.choice(len(USERS), size, replace=False)]
            times["ours"].append(1e3 * rig.seconds_of(partial(_ours, stub, users)))
            times["bare"].append(1e3 * rig.seconds_of(partial(_bare, client, release, users)))
            if feast:
                times["feast"].append(feast.read(users))
        medians[size] = {name: statistics.median(values) for name, values in times.items() if values}
    return medians


def _report(medians: dict[int, dict[str, float]], feast: "Feast | None") -> None:
    """Print a table, and the JSON line."""
    rig.print_machine("grpcio", "redis", **({"feast": feast.version} if feast else {}))
    print(f"{'users':>6}" + "".join(f"{name + ' ms':>12}" for name in medians[1]) + f"{'over bare':>12}")
    for size, row in medians.items():
        ratio = row["ours"] / row["bare"]
        print(f"{size:>6}" + "".join(f"{value:>12.2f}" for value in row.values()) + f"{ratio:>11.2f}x")
    rig.print_json(
        **{f"over_bare_{size}": row["ours"] / row["bare"] for size, row in medians.items()},
        vs_feast=medians[512]["feast"] / medians[512]["ours"] if feast else None,
    )


def _ours(stub: EmbeddingServiceStub, users: list[str]) -> None:
    """One call, its answer as arrays."""
    columns = stub.BatchGetUserFeatures(
        pb.BatchGetUserFeaturesRequest(user_ids=users, layout=pb.FEATURE_LAYOUT_COLUMNS)
    ).columns
    bert = np.frombuffer(columns.bert_means, "<f4").reshape(-1, 384)
    als = np.frombuffer(columns.als, "<f4").reshape(-1, 64)
    assert len(bert) == len(als) == len(users)


def _bare(client: redis.Redis, release: Release, users: list[str]) -> None:
    """One pipeline, its replies as they are."""
    pipeline = client.pipeline(transaction=False)
    for keys in map(UserKeys, users):
        pipeline.mget(keys.accumulator(release.manifest.encoder_id), keys.als(release.manifest.als_id))
    assert all(accumulator for accumulator, _ in pipeline.execute())


class Feast:
    """Feast in a process of its own environment, with vectors of our sizes."""

    def __init__(self, folder: Path, address: str) -> None:
        python = rig.rival_python("feast", "feast[redis]")
        rng = np.random.default_rng(1)
        np.save(folder / "bert.npy", rng.normal(size=(len(USERS), 384)).astype(np.float32))
        np.save(folder / "als.npy", rng.normal(size=(len(USERS), 64)).astype(np.float32))
        (folder / "users.json").write_text(json.dumps(USERS))
        script = Path(__file__).with_name("rival_feast.py")
        command = [str(python), "-W", "ignore", str(script), str(folder), address]
        with (folder / "feast.log").open("w") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "FEAST_USAGE": "False"},
            )
        assert self._answer()["ready"]
        self.version = rig.rival_version(python, "feast")

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
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise SystemExit("Feast ended; see feast.log")


def _imported_users() -> list[pb.ImportedUser]:
    """Users of two reviews."""
    rng = np.random.default_rng(0)
    users = []
    for name in USERS:
        user = pb.ImportedUser(user_id=name, als=to_vector(rng.normal(size=64).astype(np.float32)))
        for number, vector in enumerate(quantize(unit_vectors(rng, 2))):
            fixed_point = fixed_point_to_bytes(vector)
            user.reviews.add(review_id=f"r{number}", product_id=product_id(number), rating=4, fixed_point=fixed_point)
        users.append(user)
    return users


@contextlib.contextmanager
def _redis_server(folder: Path) -> Iterator[str]:
    """host:port of a redis-server without persistence: reading is measured."""
    port = free_port()
    options = {"port": port, "dir": folder, "save": "", "logfile": folder / "redis.log"}
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    process = subprocess.Popen([str(redis_executable()), *arguments])
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


if __name__ == "__main__":
    main()
