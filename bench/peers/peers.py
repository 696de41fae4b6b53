"""Inference engines that run an exported network, behind one interface.

A peer is a function from (ONNX file, threads) to (version, run), where run(x) takes float32 [N, 3, H, W] and
returns the graph's outputs: logits, float32 [N, classes], and then maps. They may lie in the engine's own memory, which
the next run overwrites. Its package is imported only when the peer is asked for.

A peer of INT8_PEERS takes calibration inputs, a list of float32 [N, 3, H, W], as a third argument. It quantizes the
network with the engine's own tool before it is timed.
"""

import os
from pathlib import Path

import numpy as np


def onnxruntime(path, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return ort.__version__, lambda x: session.run(None, {"input": x})


def openvino(path, threads):
    return _openvino_runner(str(path), threads)


def openvino_int8(path, threads, calibration):
    """Post-training quantization by NNCF, with its bias correction."""
    import nncf
    import openvino as ov

    model = ov.Core().read_model(str(path))
    quantized = nncf.quantize(model, nncf.Dataset(calibration), subset_size=len(calibration),
                              target_device=nncf.TargetDevice.CPU)
    return _openvino_runner(quantized, threads)


def onnxruntime_int8(path, threads, calibration):
    """Static quantization to QDQ: uint8 activations, int8 weights per channel, of 7 bits without VNNI."""
    from onnxruntime import quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.inputs = iter(calibration)

        def get_next(self):
            x = next(self.inputs, None)
            return None if x is None else {"input": x}

    prepared, quantized = Path(path).with_suffix(".prepared.onnx"), Path(path).with_suffix(".int8.onnx")
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    q.quantize_static(str(prepared), str(quantized), Reader(), quant_format=q.QuantFormat.QDQ, per_channel=True,
                      activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8, reduce_range=not _has_vnni())
    return onnxruntime(quantized, threads)


def _has_vnni():
    if os.environ.get("LASNET_PEERS_ISA") == "avx2":  # without_avx512.py
        return False
    words = Path("/proc/cpuinfo").read_text().split()
    return "avx512_vnni" in words or "avx_vnni" in words


def _openvino_runner(network, threads):
    import openvino as ov

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    model = ov.Core().compile_model(network, "CPU", settings)
    request = model.create_infer_request()

    def run(x):
        request.infer({"input": x}, share_inputs=True)
        return [request.get_output_tensor(i).data for i in range(len(model.outputs))]

    return ov.__version__.split("-")[0], run


def torch_jit(path, threads):
    """Frozen TorchScript in channels-last, optimised for inference."""
    import torch

    traced, example = _torch_trace(path, threads)
    with torch.no_grad():
        network = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
        network(example)
    return torch.__version__, _torch_runner(network)


def torch_compile(path, threads):
    """torch.compile with Inductor, frozen weights, channels-last. Needs a C++ compiler."""
    import torch
    import torch._inductor.config as inductor

    inductor.freezing = True
    module, example = _torch_module(path, threads)
    network = torch.compile(module)
    with torch.no_grad():
        network(example)
    return torch.__version__, _torch_runner(network)


PEERS = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "torch-jit": torch_jit,
    "torch-compile": torch_compile,
}

INT8_PEERS = {
    "onnxruntime": onnxruntime_int8,
    "openvino": openvino_int8,
}


def _torch_runner(network):
    import torch

    def run(x):
        with torch.no_grad():
            outputs = network(torch.from_numpy(x).contiguous(memory_format=torch.channels_last))
            return [output.numpy() for output in outputs]

    return run


def _torch_trace(path, threads):
    import torch

    module, example = _torch_module(path, threads)
    with torch.no_grad():
        return torch.jit.trace(module, example), example


def _torch_module(path, threads):
    """The ONNX graph's nodes, which are few in kind, as a module; and an example input."""
    import onnx
    import torch
    from onnx import helper, numpy_helper
    from torch.nn import functional

    torch.set_num_threads(threads)
    graph = onnx.load(path).graph
    shape = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]

    operators = {
        "Conv": lambda a, x, w, b: functional.conv2d(x, w, b, a["strides"], a["pads"][:2], 1, a["group"]),
        "MaxPool": lambda a, x: functional.max_pool2d(x, a["kernel_shape"], a["strides"], a["pads"][:2]),
        "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
        "Gemm": lambda a, x, w, b: functional.linear(x, w, b),
        "Flatten": lambda a, x: x.flatten(1),
        "Relu": lambda a, x: functional.relu(x),
        "Sigmoid": lambda a, x: torch.sigmoid(x),
        "Add": lambda a, x, y: x + y,
        "Mul": lambda a, x, y: x * y,
        "Identity": lambda a, x: x,
    }

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.names = {}
            for i, tensor in enumerate(graph.initializer):
                self.names[tensor.name] = f"weight{i}"
                values = torch.from_numpy(numpy_helper.to_array(tensor).copy())
                self.register_parameter(f"weight{i}", torch.nn.Parameter(values, requires_grad=False))
            self.nodes = [
                (node.op_type, list(node.input), node.output[0],
                 {item.name: helper.get_attribute_value(item) for item in node.attribute})
                for node in graph.node
            ]

        def forward(self, x):
            values = {"input": x}
            for operator, inputs, output, attributes in self.nodes:
                arguments = [values[n] if n in values else getattr(self, self.names[n]) for n in inputs]
                values[output] = operators[operator](attributes, *arguments)
            return tuple(values[output.name] for output in graph.output)

    example = torch.from_numpy(np.zeros(shape, np.float32)).contiguous(memory_format=torch.channels_last)
    return Network().eval().to(memory_format=torch.channels_last), example
