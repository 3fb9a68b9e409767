"""Feast's Redis online store, run by bench_features.py in an environment of Feast's own: loads vectors, then reads
batches.

Reads lines of JSON from standard input, ``{"users": [...]}``, and answers each with ``{"ms": …, "rows": …}``.
"""

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float32, Int64

FEATURES = ["users:bert_mean", "users:als", "users:review_count"]


def main(folder: Path, redis: str) -> None:
    """Load, say so, then read each batch that is asked for."""
    users = json.loads((folder / "users.json").read_text())
    bert, als = np.load(folder / "bert.npy"), np.load(folder / "als.npy")
    now = datetime.now(UTC)
    columns = {"user_id": users, "bert_mean": list(bert), "als": list(als)}
    frame = pd.DataFrame(columns).assign(event_timestamp=now, review_count=2)
    source = FileSource(path=str(folder / "users.parquet"), timestamp_field="event_timestamp")
    frame.to_parquet(folder / "users.parquet")
    (folder / "feature_store.yaml").write_text(
        f"project: bench\nprovider: local\nregistry: {folder}/registry.db\nentity_key_serialization_version: 3\n"
        f"online_store:\n  type: redis\n  connection_string: {redis}\n"
    )
    store = FeatureStore(repo_path=str(folder))
    user = Entity(name="user_id", join_keys=["user_id"], value_type=ValueType.STRING)
    types = {"bert_mean": Array(Float32), "als": Array(Float32), "review_count": Int64}
    schema = [Field(name=name, dtype=dtype) for name, dtype in types.items()]
    store.apply([user, FeatureView(name="users", entities=[user], ttl=timedelta(days=1), schema=schema, source=source)])
    store.write_to_online_store("users", frame)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        rows = [{"user_id": name} for name in json.loads(line)["users"]]
        started = time.perf_counter()
        answer = store.get_online_features(features=FEATURES, entity_rows=rows).to_dict()
        ms = 1000 * (time.perf_counter() - started)
        print(json.dumps({"ms": ms, "rows": sum(value is not None for value in answer["bert_mean"])}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
