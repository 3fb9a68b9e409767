"""From a Keras network with the contracted inputs to plain weights, ours or of other hands, by its graph.

Walking back from the output: dense layers (dropout and separate activations between them) up to the concatenation of
two towers; from each of its inputs the same, up to a concatenation of contracted inputs, in whatever order.
"""

from typing import Any, Final, get_args

import numpy as np

from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import IS_ANONYMOUS_INPUT, PRODUCT_INPUTS, TOWER_DIM, USER_INPUTS, Float32
from twotower.model import LEAKY_RELU_SLOPE, Activation, Dense, TwoTowerWeights

WIDTHS: Final = USER_INPUTS | PRODUCT_INPUTS
_ACTIVATIONS: Final[tuple[Activation, ...]] = get_args(Activation)
_LAYERS: Final = ("ReLU", "LeakyReLU", "ELU")
_PASSED: Final = ("Dropout", "AlphaDropout", "GaussianDropout", "SpatialDropout1D", "GaussianNoise", "Identity")
_PRECISIONS: Final = ("float32", "float64")
_SAME: Final = 1e-6


def graph_weights(network: Any) -> TwoTowerWeights:
    """Plain weights of a network by part.

    A network without ``is_anonymous_user`` gets a zero row in its place: serving knows one layout.

    Raises:
        InvalidArgument: naming the input, layer or width that does not fit.
    """
    _check_inputs(network)
    _check_precision(network)
    if len(network.outputs) != 1 or network.outputs[0].shape[1:] != (1,):
        raise _refused(
            "output", f"must be one number a row, got shapes {[tuple(output.shape) for output in network.outputs]}"
        )
    head, towers = _dense_chain(network.outputs[0])
    if len(towers) != 2:
        raise _refused("head", f"must start where two towers are concatenated, here {len(towers)} tensors meet")
    sides = [_tower(tensor) for tensor in towers]
    names = [name for name, _ in sides]
    if sorted(names) != ["product", "user"]:
        raise _refused("towers", f"must be one of user inputs and one of product inputs, found {' and '.join(names)}")
    if names[0] == "product":
        first = head[0]
        head = (
            Dense(np.concatenate([first.kernel[TOWER_DIM:], first.kernel[:TOWER_DIM]]), first.bias, first.activation),
            *head[1:],
        )
    parts = dict(sides)
    if len(head) < 2:
        raise _refused("head", "must have at least two dense layers")
    return TwoTowerWeights(parts["user"], parts["product"], head)


def _refused(field: str, text: str) -> InvalidArgument:
    return InvalidArgument([FieldViolation(field, text)])


def _check_inputs(network: Any) -> None:
    widths = {tensor.name: tensor.shape[-1] for tensor in network.inputs}
    problems = [
        FieldViolation(name, "input is missing") for name in WIDTHS if name not in widths and name != IS_ANONYMOUS_INPUT
    ]
    problems += [
        FieldViolation(
            name,
            f"must be {WIDTHS[name]} wide, got {width}" if name in WIDTHS else "is not one of the contracted inputs",
        )
        for name, width in widths.items()
        if WIDTHS.get(name) != width
    ]
    if problems:
        raise InvalidArgument(problems)


def _check_precision(network: Any) -> None:
    """Serving computes in float32: what computes or stores in fewer bits would answer otherwise than Keras does."""
    problems = []
    for layer in network.layers:
        kinds = {str(weight.dtype) for weight in layer.weights} | {str(layer.compute_dtype)}
        if getattr(layer, "quantization_mode", None):
            problems.append(FieldViolation(layer.name, f"is quantized ({layer.quantization_mode}); must be float32"))
        elif other := sorted(kinds - {*_PRECISIONS}):
            message = (
                f"has the precision {other[0]}; must be float32: give the layers the policy float32 and save again"
            )
            problems.append(FieldViolation(layer.name, message))
        elif getattr(layer, "lora_enabled", False):
            problems.append(FieldViolation(layer.name, "has LoRA weights; merge them and save again"))
    if problems:
        more = [FieldViolation("layers", f"{len(problems) - 5} more of this kind")] if len(problems) > 5 else []
        raise InvalidArgument(problems[:5] + more)


def _tower(tensor: Any) -> tuple[str, tuple[Dense, ...]]:
    """Side and layers of the tower that ends in `tensor`; rows of its first kernel are in the contracted order."""
    layers, inputs = _dense_chain(tensor)
    names = [source.name for source in inputs]
    side = "user" if set(names) <= set(USER_INPUTS) else "product" if set(names) == set(PRODUCT_INPUTS) else ""
    if not side or not layers:
        raise _refused(
            "towers", f"must be dense layers over user or over product inputs alone, one is over {', '.join(names)}"
        )
    if layers[-1].kernel.shape[1] != TOWER_DIM:
        raise _refused(f"{side} tower", f"must end {TOWER_DIM} wide, got {layers[-1].kernel.shape[1]}")
    edges = np.cumsum([0, *(WIDTHS[name] for name in names)])
    first = layers[0]
    rows = {name: first.kernel[start:end] for name, start, end in zip(names, edges, edges[1:], strict=False)}
    absent = np.zeros((1, first.kernel.shape[1]), np.float32)
    kernel: Float32 = np.concatenate(
        [rows.get(name, absent) for name in (USER_INPUTS if side == "user" else PRODUCT_INPUTS)]
    )
    return side, (Dense(kernel, first.bias, first.activation), *layers[1:])


def _dense_chain(tensor: Any) -> tuple[tuple[Dense, ...], list[Any]]:
    """Dense layers that lead to `tensor`, first to last, and the tensors that are concatenated before them."""
    layers: list[Dense] = []
    pending: Activation | None = None
    while True:
        layer = tensor._keras_history.operation
        kind = type(layer).__name__
        sources = layer._inbound_nodes[tensor._keras_history.node_index].input_tensors
        if kind == "Concatenate":
            return tuple(reversed(layers)), list(sources)
        if kind == "Dense":
            own = _activation_of(layer.activation, layer.name)
            if pending and own != "linear":
                raise _refused(layer.name, f"has the activation {own} and another layer's {pending} after it")
            kernel, *bias = (np.asarray(weight, np.float32) for weight in layer.get_weights())
            layers.append(Dense(kernel, bias[0] if bias else np.zeros(kernel.shape[1], np.float32), pending or own))
            pending = None
        elif kind in ("Activation", *_LAYERS):
            own = _activation_of(layer.activation if kind == "Activation" else layer, layer.name)
            if pending and own != "linear" and pending != "linear":
                raise _refused(layer.name, f"is the activation {own} with another layer's {pending} after it")
            pending = own if own != "linear" else pending or own
        elif kind not in _PASSED:
            raise _refused(layer.name, f"is a {kind} layer; only dense layers, activations and dropout can be served")
        (tensor,) = sources


def _activation_of(function: Any, layer: str) -> Activation:
    """The kernel's name of an activation: a function of Keras, or a layer that is one.

    Args:
        function: the activation.
        layer: name of the layer that has it, for the message of the error.

    Raises:
        InvalidArgument: the kernel has no such activation.
    """
    import keras

    kind = type(function).__name__
    if isinstance(function, keras.Layer):
        if kind not in _LAYERS:
            raise _refused(layer, f"has the activation {kind}; must be one of {', '.join(_ACTIVATIONS)}")
        return _layer_activation(function, kind, layer)
    for name in _ACTIVATIONS:
        if function is getattr(keras.activations, name):
            return name
    called = getattr(function, "__name__", kind)
    what = "a function of its own" if called in ("<lambda>", "partial") else called
    raise _refused(layer, f"has the activation {what} ({called}); must be one of {', '.join(_ACTIVATIONS)}")


def _layer_activation(activation: Any, kind: str, layer: str) -> Activation:
    """The kernel's name of an activation layer with its constants."""
    if kind == "ELU":
        if abs(float(activation.alpha) - 1) > _SAME:
            raise _refused(layer, f"must have the alpha 1 to be served, ELU has {float(activation.alpha):g}")
        return "elu"
    slope = float(activation.negative_slope if activation.negative_slope is not None else 0)
    if kind == "ReLU":
        if activation.max_value is not None:
            raise _refused(layer, f"must have no max_value to be served, ReLU has {float(activation.max_value):g}")
        if activation.threshold:
            raise _refused(layer, f"must have the threshold 0 to be served, ReLU has {float(activation.threshold):g}")
    slopes: dict[Activation, float] = {"relu": 0.0, "leaky_relu": LEAKY_RELU_SLOPE, "linear": 1.0}
    for name, known in slopes.items():
        if abs(slope - known) <= _SAME:
            return name
    raise _refused(layer, f"must have the slope 0 or {LEAKY_RELU_SLOPE:g}, got {slope:g}")
