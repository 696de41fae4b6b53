"""Two processes with half of the batch each train as one process with all of it."""

import pytest
from torch_support import hashed, network, set_hashed_values, torch

import lasnet.torch as lt
from lasnet.torch import _blocks

IMAGES, STEPS = 8, 3


def frozen_norms(net):
    """Batch statistics would be those of half a batch: SyncBatchNorm needs GPUs."""
    net.train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


class SharedNoise:
    """The noise of the whole batch, of which a process takes the part of its images."""

    def __init__(self, rank, count):
        self.rank, self.count, self.calls = rank, count, 0

    def __call__(self, like):
        self.calls += 1
        whole = hashed(f"noise {self.calls}", (IMAGES, *like.shape[1:]), 3.0)
        return whole.chunk(self.count)[self.rank]


def train(rank, count, folder):
    """Train on a part of the batch and save what came of it."""
    _blocks.logistic_noise = SharedNoise(rank, count)
    torch.set_num_threads(1)
    net = set_hashed_values(lt.dynamic(network("resnet18"), "4-4-2-1"))
    frozen_norms(net)
    called = net
    if count > 1:
        rendezvous = f"file://{folder}/rendezvous"
        torch.distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=count)
        called = torch.nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    images, labels = hashed("images", (IMAGES, 3, 64, 64), 1.7).chunk(count)[rank], torch.arange(IMAGES) % 7
    labels, losses = labels.chunk(count)[rank], []
    for step in range(STEPS):
        net.temperature = lt.temperature(step / STEPS)
        logits = called(images)
        budget = lt.budget_loss(called, 0.4, step / STEPS)
        optimizer.zero_grad()
        (torch.nn.functional.cross_entropy(logits, labels) + budget).backward()
        optimizer.step()
        losses.append(budget.item())
    lt.export(called, f"{folder}/exported-{count}-{rank}.safetensors")
    state = {name: value.clone() for name, value in net.state_dict().items()}
    lt.hold_budget(called, 0.4)
    torch.save((state, losses, net.layer1[0].masker.conv2.bias), f"{folder}/{count}-{rank}.pt")
    if count > 1:
        torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes_are_one(tmp_path, monkeypatch):
    monkeypatch.setattr(_blocks, "logistic_noise", _blocks.logistic_noise)  # restored after train() replaces it
    torch.multiprocessing.spawn(train, (2, str(tmp_path)), nprocs=2)
    train(0, 1, str(tmp_path))
    expected, losses, _ = torch.load(tmp_path / "1-0.pt")
    start = set_hashed_values(lt.dynamic(network("resnet18"), "4-4-2-1")).state_dict()
    biases = []
    for rank in (0, 1):
        got, got_losses, bias = torch.load(tmp_path / f"2-{rank}.pt")
        assert got_losses == pytest.approx(losses, rel=1e-5)
        for name, value in expected.items():
            moved = (value - start[name]).abs().max()
            assert (got[name] - value).abs().max() <= 1e-3 * moved + 1e-6, name
        biases.append(bias)
        assert (tmp_path / f"exported-2-{rank}.safetensors").stat().st_size > 100_000
    assert torch.equal(*biases), "processes hold the budget alike"
    assert not torch.equal(biases[0], expected["layer1.0.masker.conv2.bias"])
