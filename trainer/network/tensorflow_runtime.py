"""TensorFlow, loaded without its greetings and made reproducible."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from twotower.cores import usable_cores
from twotower.errors import FieldViolation, InvalidArgument


def check_backend() -> None:
    """Refuse another backend of Keras than TensorFlow, which the environment may ask for, before anything is loaded.

    Raises:
        InvalidArgument: naming the variable.
    """
    backend = os.environ.get("KERAS_BACKEND", "")
    if backend not in ("", "tensorflow"):
        message = f"must be tensorflow or not set, got {backend!r}: networks are fitted and read by TensorFlow"
        raise InvalidArgument([FieldViolation("KERAS_BACKEND", message)])
    if not backend:
        os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever ~/.keras/keras.json says


def load_tensorflow() -> None:
    """Import TensorFlow and Keras, which takes several seconds at the first call.

    TensorFlow's C++ part says on the process's standard error at every start that there is no GPU, whatever the log
    level, so standard error is shut during the import. A failure to import is a Python exception and is seen.
    """
    check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(threads, str(usable_cores()))
    with _standard_error_shut():
        import keras
        import tensorflow as tf

        assert keras.backend.backend() == "tensorflow"
        tf.config.list_physical_devices()  # looks for a GPU once
        # Every fit has graphs of its own; after a few fits in a process TensorFlow takes that for a mistake and warns.
        tf.get_logger().setLevel("ERROR")


def make_deterministic(seed: int) -> None:
    """Make the same inputs give the same weights on the same machine, for the rest of this process."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


@contextmanager
def _standard_error_shut() -> Iterator[None]:
    standard_error = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
        os.close(nothing)
