"""Sixty steps on synthetic pictures: the masks come to the budget, and look at the object."""

import pytest
from torch_support import network, torch

import lasnet.torch as lt

F = torch.nn.functional
SIZE, BATCH, STEPS, TARGET = 64, 16, 60, 0.6


def pictures(count, seed):
    """Noise with a square of one of three colours at a place of its own: images, labels, and where the square is."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    corners = torch.randint(SIZE // 2, (count, 2), generator=generator)
    images = 0.5 * torch.randn(count, 3, SIZE, SIZE, generator=generator)
    squares = torch.zeros(count, 1, SIZE, SIZE)
    for image, square, label, (top, left) in zip(images, squares, labels, corners.tolist()):
        image[label, top : top + SIZE // 2, left : left + SIZE // 2] += 2
        square[0, top : top + SIZE // 2, left : left + SIZE // 2] = 1
    return images, labels, squares


def mean_ratio(net, images):
    net.eval()
    with torch.no_grad():
        logits = net(images)
    return float(lt.macs_ratio(net).mean()), logits


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    net = lt.dynamic(network("resnet18", classes=3), "4-4-2-1", standardise_maskers=True)
    maskers = lt.masker_parameters(net)
    rest = [parameter for name, parameter in net.named_parameters() if ".masker." not in name]
    groups = [{"params": rest, "lr": 0.05}, {"params": maskers, "lr": 1.0}]
    optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    for step in range(STEPS):
        progress = step / STEPS
        images, labels, _ = pictures(BATCH, seed=step)
        net.temperature = lt.temperature(progress)
        net.noise_scale = lt.noise_scale(progress)
        loss = F.cross_entropy(net(images), labels) + lt.budget_loss(net, TARGET, progress)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def test_reaches_its_budget(trained):
    images, labels, _ = pictures(64, seed=1000)
    ratio, logits = mean_ratio(trained, images)
    assert abs(ratio - TARGET) <= 0.05
    assert (logits.argmax(1) == labels).float().mean() > 0.9


def test_computes_more_where_the_object_is(trained):
    images, _, squares = pictures(64, seed=1000)
    mean_ratio(trained, images)
    blocks = sum(F.interpolate(masks.mask, size=(SIZE, SIZE)) for masks in lt.block_masks(trained))
    inside, outside = ((blocks * area).sum() / area.sum() for area in (squares, 1 - squares))
    assert inside > outside


def test_settling_meets_the_budget_exactly(trained):
    batches = [pictures(16, seed=2000 + index)[:2] for index in range(4)]
    for target in (0.45, 0.7):
        trained.train()
        said = lt.settle_budget(trained, batches, target)
        assert trained.training
        measured = sum(mean_ratio(trained, images)[0] for images, _ in batches) / 4
        assert said == pytest.approx(measured, abs=1e-5)
        assert abs(measured - target) <= 0.01


@pytest.mark.parametrize("target", [0.4, 0.8])
def test_holding_meets_the_budget_without_a_loss(target):
    torch.manual_seed(0)
    net = lt.dynamic(network("resnet18", classes=3), "4-4-2-1", standardise_maskers=True)
    ratios = []
    for step in range(60):
        with torch.no_grad():
            net(pictures(BATCH, seed=step)[0])
        ratios.append(lt.macs_ratio(net).mean().item())
        lt.hold_budget(net, target)
    assert ratios[0] > 0.95
    assert abs(sum(ratios[-20:]) / 20 - target) < 0.02


def test_settling_refuses_what_it_cannot_use(trained):
    with pytest.raises(TypeError, match="got an iterator"):
        lt.settle_budget(trained, iter([]), 0.5)
    with pytest.raises(ValueError, match="there are no images"):
        lt.settle_budget(trained, [], 0.5)
    with pytest.raises(ValueError, match="target: expected a MAC ratio"):
        lt.settle_budget(trained, [], 0)
