#!/usr/bin/env python3
"""Times PyTorch's static ResNets on one GPU: what lasnet's sparse runs have to beat there.

    bench/peers/cuda_peers.py resnet101 --batches 1,8,32,128 --precisions fp32,tf32,fp16 [--compile cudnn] [--json]

BatchNorm is folded into the convolutions (they carry a bias), weights are random. Every way of running is tried: eager,
captured in a CUDA graph, and torch.compile(mode="max-autotune"), each in channels-last and in NCHW (where cuDNN may
choose Winograd for fp32), with cudnn.benchmark. --compile cudnn lets max-autotune choose among libraries' convolutions
and products only: half a minute instead of many for the templates that it would generate. Times are medians of CUDA
events around single runs, over rotating inputs that lie on the device. The fastest way counts. Needs PyTorch with CUDA;
max-autotune also a C++ compiler.
"""

import argparse
import json
import statistics
import sys

BLOCKS = {"resnet50": [3, 4, 6, 3], "resnet101": [3, 4, 23, 3]}
ROTATING_INPUTS = 4


def make_network(torch, blocks):
    nn = torch.nn

    def conv(inputs, outputs, kernel, stride=1):
        return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)

    class Bottleneck(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            self.conv1, self.conv2 = conv(inputs, width, 1), conv(width, width, 3, stride)
            self.conv3 = conv(width, 4 * width, 1)
            projected = stride != 1 or inputs != 4 * width
            self.projection = conv(inputs, 4 * width, 1, stride) if projected else nn.Identity()
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.relu(self.conv2(self.relu(self.conv1(x))))
            return self.relu(self.conv3(y) + self.projection(x))

    layers, inputs = [conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)], 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for i in range(count):
            layers.append(Bottleneck(inputs, width, 2 if stage > 0 and i == 0 else 1))
            inputs = 4 * width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000)]
    return nn.Sequential(*layers).eval().cuda()


def set_up_compiler(torch, choice):
    torch.backends.cudnn.benchmark = True
    if choice == "cudnn":
        import torch._inductor.config as inductor
        inductor.max_autotune_conv_backends = inductor.max_autotune_gemm_backends = "ATEN"


def captured(torch, network, example):
    """The network as a CUDA graph over a static input."""
    static = example.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            network(static)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        network(static)
    return lambda x: graph.replay(), static


def median_ms(torch, run, inputs, repeat, static=None):
    times = []
    for i in range(repeat + 5):
        x = inputs[i % len(inputs)]
        if static is not None:
            static.copy_(x)  # before the clock starts: a graph's input has its place
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run(x)
        end.record()
        torch.cuda.synchronize()
        if i >= 5:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def measure(torch, options, precision, batch):
    """{way: ms}"""
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    results = {}
    for layout, memory_format in {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}.items():
        network = make_network(torch, BLOCKS[options.network]).to(dtype=dtype, memory_format=memory_format)
        inputs = [torch.randn(batch, 3, options.size, options.size, device="cuda", dtype=dtype)
                  .contiguous(memory_format=memory_format) for _ in range(ROTATING_INPUTS)]
        results[f"eager {layout}"] = median_ms(torch, network, inputs, options.repeat)
        run, static = captured(torch, network, inputs[0])
        results[f"graph {layout}"] = median_ms(torch, run, inputs, options.repeat, static)
        if options.compile != "none" and layout == "nhwc":
            compiled = torch.compile(network, mode="max-autotune")
            results[f"compile {layout}"] = median_ms(torch, compiled, inputs, options.repeat)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=BLOCKS)
    parser.add_argument("--batches", default="1,8,32,128")
    parser.add_argument("--precisions", default="fp32,tf32,fp16")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeat", type=int, default=30)
    parser.add_argument("--compile", choices=["none", "cudnn", "all"], default="all",
                        help="what torch.compile chooses among; none leaves it out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        sys.exit("error: PyTorch is not installed")
    if not torch.cuda.is_available():
        sys.exit("error: PyTorch sees no CUDA device")
    set_up_compiler(torch, options.compile)
    rows = []
    with torch.inference_mode():
        for precision in options.precisions.split(","):
            for batch in map(int, options.batches.split(",")):
                ways = measure(torch, options, precision, batch)
                fastest = min(ways, key=ways.get)
                rows.append({"precision": precision, "batch": batch, "fastest": fastest, "ms": ways[fastest],
                             "ways_ms": ways})
                if not options.json:
                    print(f"{precision:5} batch {batch:4}  {ways[fastest]:9.3f} ms  {fastest}  {ways}", flush=True)
    if options.json:
        print(json.dumps({"network": options.network, "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(),
                          "device": torch.cuda.get_device_name(), "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
