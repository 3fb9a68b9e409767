"""The rival of bench_serving.py: NVIDIA PyTriton serving the numpy split fusion head without features; in an
environment of its own.

python rival_pytriton.py serve <weights.npz> <port>          until it is killed
python rival_pytriton.py load <port> <concurrency> <seconds>  prints calls per second and the median in milliseconds
"""

import sys
import threading
import time
from typing import Any

import numpy as np

K = 10


def serve(path: str, port: int) -> None:
    """Serve `Recommend`: a user row (449) → rows and scores of the best 10."""
    from pytriton.decorators import batch
    from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
    from pytriton.triton import Triton, TritonConfig

    arrays = np.load(path)
    tower = [(arrays[f"kernel{i}"], arrays[f"bias{i}"]) for i in range(3)]
    user_kernel, products, second, last = arrays["user_kernel"], arrays["products"], arrays["second"], arrays["last"]
    second_bias, last_bias = arrays["second_bias"], arrays["last_bias"]

    def elu(x: Any) -> Any:
        return np.maximum(x, 0) + np.exp(np.minimum(x, 0)) - 1

    @batch  # type: ignore[untyped-decorator]
    def recommend(row: Any) -> dict[str, Any]:
        x = row
        for kernel, bias in tower:
            x = elu(x @ kernel + bias)
        x = elu((x @ user_kernel)[:, None, :] + products[None])
        scores = (elu(x.reshape(-1, x.shape[-1]) @ second + second_bias) @ last + last_bias).reshape(len(row), -1)
        best = np.argpartition(scores, -K, axis=1)[:, -K:]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
        best = np.take_along_axis(best, order, 1)
        return {"products": best, "scores": np.take_along_axis(scores, best, 1)}

    config = TritonConfig(http_port=port, grpc_port=port + 1, metrics_port=port + 2, log_verbose=0)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="Recommend",
            infer_func=recommend,
            inputs=[Tensor(name="row", dtype=np.float32, shape=(449,))],
            outputs=[
                Tensor(name="products", dtype=np.int64, shape=(K,)),
                Tensor(name="scores", dtype=np.float32, shape=(K,)),
            ],
            config=ModelConfig(max_batch_size=128, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()


def load(port: int, concurrency: int, seconds: float) -> None:
    """Ask over gRPC from `concurrency` callers without a pause."""
    import tritonclient.grpc as client

    times: list[float] = []
    row = np.random.default_rng(0).normal(0, 0.3, (1, 449)).astype(np.float32)
    connection = client.InferenceServerClient(f"127.0.0.1:{port + 1}")
    _wait_for_model(connection)
    tensor = client.InferInput("row", row.shape, "FP32")
    tensor.set_data_from_numpy(row)
    connection.infer("Recommend", [tensor])
    end = time.perf_counter() + seconds

    def caller() -> None:
        while time.perf_counter() < end:
            start = time.perf_counter()
            connection.infer("Recommend", [tensor])
            times.append(time.perf_counter() - start)

    threads = [threading.Thread(target=caller) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(times) / seconds, 1e3 * float(np.median(times)))


def _wait_for_model(connection: Any) -> None:
    """Wait until the model is there, some seconds after the port."""
    end, last = time.perf_counter() + 60, None
    while time.perf_counter() < end:
        try:
            if connection.is_model_ready("Recommend"):
                return
        except Exception as error:
            last = error
        time.sleep(0.2)
    sys.exit(f"the model is not ready: {last}")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        load(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
