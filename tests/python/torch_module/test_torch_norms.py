"""adapt_norms: BatchNorm gets the data's statistics, and the network stays the same function."""

import pytest
from torch_support import network, torch

import lasnet.torch as lt


@pytest.fixture()
def net():
    torch.manual_seed(0)
    net = network("resnet50")
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as of weights from other data
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return net.eval()


def batches(count=2):
    return [2 * torch.rand(4, 3, 64, 64) + 1 for _ in range(count)]


def change_by_training(net, x):
    with torch.no_grad():
        deployed = net.eval()(x)
        return ((net.train()(x) - deployed).norm() / deployed.norm()).item()


def test_keeps_the_function(net):
    x = batches(1)[0]
    with torch.no_grad():
        before = net(x)
        assert lt.adapt_norms(net, batches()) == 53
        assert torch.allclose(net(x), before, rtol=1e-3, atol=1e-4 * before.abs().max().item())
    assert not net.training


def test_training_begins_with_the_function(net):
    (x,) = batches(1)
    other = [(x, "labels may follow")]
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert change_by_training(net, x) > 0.2
    net.load_state_dict(state)
    net.train()
    lt.adapt_norms(net, other)
    assert net.training and net.bn1.training
    assert change_by_training(net, x) < 0.02


def test_takes_the_mean_over_batches(net):
    a, b = batches()
    of_stem = [net.conv1(x).mean((0, 2, 3)) for x in (a, b)]
    lt.adapt_norms(net, [a, b])
    assert torch.allclose(net.bn1.running_mean, (of_stem[0] + of_stem[1]) / 2, atol=1e-5)


def test_works_on_dynamic_networks(net):
    dynamic = lt.dynamic(net, "4-4-2-1", standardise_maskers=True)
    assert lt.adapt_norms(dynamic.eval(), batches()) == 53, "maskers' have neither scale nor shift"


def test_refuses_what_it_cannot_adapt(net):
    with pytest.raises(ValueError, match="batches: expected at least one"):
        lt.adapt_norms(net, [])
    with pytest.raises(ValueError, match="Linear has no BatchNorm"):
        lt.adapt_norms(torch.nn.Linear(2, 2), batches())
