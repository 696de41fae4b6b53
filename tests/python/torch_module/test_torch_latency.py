"""The latency loss: what the predictor says at the masks' rates, with a gradient."""

import json
import subprocess

import pytest
from torch_support import engine, hashed, network, set_hashed_values, torch

import lasnet.torch as lt
from lasnet.torch import _latency

HARDWARE, BATCH, SIZE = "v100", 8, 64
TABLE = lt.LatencyTable(tuple((0.1 * step, 0.2 * step**2) for step in range(11)), rest=3.0, static=30.0)


def predict_by_program(architecture, classes, hardware, batch, size, rate):
    """What the package asks its engine, asked of the command line program."""
    arguments = [engine(), "predict", architecture.name, "--json", "--hardware", hardware, "--rate", str(rate)]
    arguments += ["--granularity", "-".join(map(str, architecture.granularity)), "--batch", str(batch)]
    arguments += ["--size", str(size), "--width", str(architecture.width), "--classes", str(classes)]
    said = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    blocks = tuple(block["dynamic_us"] / 1e3 for block in said["blocks"])
    return blocks, said["dynamic_ms"], said["static_ms"]


def trained_network():
    net = set_hashed_values(lt.dynamic(network("resnet18"), "4-4-2-1"))
    net(hashed("images", (2, 3, 64, 64), 1.7))
    return net


def test_table_is_linear_between_its_rates():
    rates = torch.tensor([0.35, 1.0], requires_grad=True)
    time = TABLE.latency(rates)
    assert time.item() == pytest.approx(0.35 + 20.0 + 3.0)
    time.backward()
    assert rates.grad.tolist() == pytest.approx([1.0, 0.2 * (100 - 81) * 10])
    assert float(TABLE.latency(torch.zeros(2))) == pytest.approx(3.0)


def test_time_is_what_the_predictor_says(monkeypatch):
    monkeypatch.setattr(_latency, "predict", predict_by_program)
    architecture = lt.dynamic(network("resnet18"), "4-4-2-1").architecture
    table = _latency._predicted_table(architecture, 7, HARDWARE, BATCH, SIZE)
    _latency._predicted_table.cache_clear()
    for rate in (0.0, 0.3, 1.0):
        _, dynamic, static = predict_by_program(architecture, 7, HARDWARE, BATCH, SIZE, rate)
        assert float(table.latency(torch.full((8,), rate))) == pytest.approx(dynamic, rel=1e-5)
        assert table.static == pytest.approx(static)


def test_loss_pulls_towards_the_time():
    net = set_hashed_values(lt.dynamic(network("resnet18"), "4-4-2-1"))
    table = lt.LatencyTable(tuple((0.1 * step,) * 8 for step in range(11)), rest=2.0, static=9.0)
    optimizer = torch.optim.SGD(lt.masker_parameters(net), lr=2.0)
    images, times = hashed("images", (4, 3, 64, 64), 1.7), []
    torch.manual_seed(1)
    for _ in range(30):
        net(images)
        loss = lt.latency_loss(net, ms=5.0, table=table)
        time = 2 + 8 * lt.rates(net).mean().item()
        assert loss.item() == pytest.approx(10 * ((time - 5) / 9) ** 2, abs=1e-5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time)
    assert abs(times[0] - 5) > 0.4
    assert abs(sum(times[-10:]) / 10 - 5) < 0.2


def test_predictions_come_from_the_package():
    lasnet = pytest.importorskip("lasnet")
    if not hasattr(lasnet, "predict_latency"):
        pytest.skip("the package lasnet is here without its engine")
    net = trained_network()
    loss = lt.latency_loss(net, ms=0.1, hardware=HARDWARE, batch=BATCH, size=SIZE)
    loss.backward()
    assert loss > 0 and net.layer1[0].masker.conv2.weight.grad.abs().max() > 0
    question = (net.architecture, 7, HARDWARE, BATCH, SIZE, 0.5)
    blocks, dynamic, static = _latency.predict(*question)
    expected_blocks, *expected = predict_by_program(*question)
    assert blocks == pytest.approx(expected_blocks, rel=1e-6)
    assert [dynamic, static] == pytest.approx(expected, rel=1e-6)


def test_wrong_uses_are_refused():
    net = trained_network()
    with pytest.raises(ValueError, match="ms: expected a time > 0"):
        lt.latency_loss(net, 0, table=TABLE)
    with pytest.raises(ValueError, match="holds no whole dynamic network to predict; give a table"):
        lt.latency_loss(net.layer1, 1.0)
    with pytest.raises(ValueError, match="the table is of 2 blocks, the network has 8"):
        lt.latency_loss(net, 1.0, table=TABLE)
