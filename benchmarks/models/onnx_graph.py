"""A BERT encoder as an ONNX graph of onnxruntime's own fused operators, written by hand.

An export of the PyTorch model leaves attention in pieces that its optimiser does not put together.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write(weights: Mapping[str, NDArray[np.float32]], config: Mapping[str, Any], to: Path) -> None:
    """Write the graph: ids and mask (B, T) int32 to states (B, T, D) float32."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, arrays = [], {}

    def put(name: str, array: NDArray[np.float32]) -> str:
        arrays[name] = np.ascontiguousarray(array)
        return name

    def kernel(name: str) -> str:
        return put(f"{name}.kernel", weights[f"{name}.weight"].T)

    def add(
        kind: str, inputs: list[str], *outputs: str, domain: str = "com.microsoft", **how: Any
    ) -> str:
        nodes.append(helper.make_node(kind, inputs, outputs, domain=domain, **how))
        return outputs[0]

    def given(*names: str) -> list[str]:
        return [put(name, weights[name]) for name in names]

    epsilon = float(config.get("layer_norm_eps", 1e-12))
    tables = [f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")]
    norm = ["embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"]
    inputs = ["ids", "segments", *given(*tables, *norm)]
    add("EmbedLayerNormalization", inputs, "x0", "mask_index", epsilon=epsilon)
    nodes.insert(0, helper.make_node("Sub", ["ids", "ids"], ["segments"]))
    x = "x0"
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}."
        parts = [layer + f"attention.self.{part}" for part in ("query", "key", "value")]
        qkv = put(layer + "qkv", np.concatenate([weights[f"{p}.weight"].T for p in parts], axis=1))
        bias = put(layer + "qkv.bias", np.concatenate([weights[f"{p}.bias"] for p in parts]))
        n_heads = config["num_attention_heads"]
        context = add("Attention", [x, qkv, bias, "mask"], layer + "context", num_heads=n_heads)
        for name, activation in (("attention.output", ""), ("output", "intermediate")):
            out = layer + name
            if activation:
                dense = layer + "intermediate.dense"
                inner = add("MatMul", [x, kernel(dense)], layer + "inner", domain="")
                context = add("BiasGelu", [inner, *given(f"{dense}.bias")], layer + "gelu")
            update = add("MatMul", [context, kernel(f"{out}.dense")], out + ".update", domain="")
            norm = [f"{out}.LayerNorm.weight", f"{out}.LayerNorm.bias", f"{out}.dense.bias"]
            inputs = [update, x, *given(*norm)]
            x = add("SkipLayerNormalization", inputs, out + ".states", epsilon=epsilon)
    nodes.append(helper.make_node("Identity", [x], ["states"]))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT32, ["texts", "tokens"])
        for name in ("ids", "mask")
    ]
    shape = ["texts", "tokens", config["hidden_size"]]
    outputs = [helper.make_tensor_value_info("states", TensorProto.FLOAT, shape)]
    initial = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "bert", inputs, outputs, initial)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), to)


def quantized(model: Path, to: Path) -> None:
    """The same with int8 weights, a scale for each column; activations are scaled as they come."""
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    options = {"DefaultTensorType": TensorProto.FLOAT}
    kinds = ["MatMul", "Attention"]
    quantize_dynamic(
        model, to, kinds, per_channel=True, weight_type=QuantType.QInt8, extra_options=options
    )
