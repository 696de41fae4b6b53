"""lasnet.torch against the C++ trainer: tests/train/torch_fixture.cc says what the fixtures hold.

The committed ones are made by `build/dump_masked_net tests/python/torch_module/data`. Where LASNET_DUMP_MASKED_NET names
that program, it is run here, and held to more: libtorch and PyTorch of one version compute nearly the same.
"""

import json
import os
import pathlib
import subprocess

import pytest
import torch_support
from torch_support import hashed, read_safetensors, torch

import lasnet.torch as lt
from lasnet.torch import _blocks, _losses

F = torch.nn.functional
DATA = pathlib.Path(__file__).parent / "data"
CASES = sorted(path.stem for path in DATA.glob("*.safetensors"))
PROGRAM = os.environ.get("LASNET_DUMP_MASKED_NET")
SAMPLES = 32
# Other versions and processors add in another order. That flips ReLUs, which gradients feel more than values.
STRICT, STRICT_GRADIENT, LOOSE, LOOSE_GRADIENT = 1e-5, 3e-5, 2e-4, 5e-2
# Changing their images by 5e-7 flips one, so that they may differ on some processors within one version too.
FLIPPED_EASILY = ("regnet_y_800mf", "resnet50")


def digest(tensor):
    values = tensor.detach().flatten()
    samples = min(len(values), SAMPLES)
    picked = values[[i * len(values) // samples for i in range(samples)]]
    return torch.cat([values.double().norm().float()[None], picked])


class Case:
    """A fixture, and the same computed by lasnet.torch."""

    def __init__(self, path, monkeypatch):
        self.expected, metadata = read_safetensors(path)
        self.settings = settings = json.loads(metadata["case"])
        release = ".".join(metadata["torch"].split(".")[:2]) + "."
        is_strict = path.parent != DATA and torch.__version__.startswith(release)
        self.tolerance = STRICT if is_strict else LOOSE
        self.gradient_tolerance = STRICT_GRADIENT if is_strict and path.stem not in FLIPPED_EASILY else LOOSE_GRADIENT
        net = torch_support.network(*(settings[key] for key in ("arch", "width", "classes", "stem")))
        options = {key: settings[key] for key in ("standardise_maskers", "straight_through_dilation")}
        self.net = torch_support.set_hashed_values(lt.dynamic(net, settings["granularity"], **options))
        self.net.temperature, self.net.noise_scale = settings["temperature"], settings["noise_scale"]
        self.net.train(settings["training"]).to(memory_format=torch.channels_last)
        noise = (self.expected[f"noise.{block}"] for block in range(len(lt.dynamic_blocks(self.net))))
        monkeypatch.setattr(_blocks, "logistic_noise", lambda like: next(noise))
        images = hashed("images", (settings["images"], 3, *settings["size"]), 1.7)
        self.logits = self.net(images.contiguous(memory_format=torch.channels_last))

    def losses(self):
        settings, logits = self.settings, self.logits
        labels = torch.arange(settings["images"]) % settings["classes"]
        budget = lt.budget_loss(self.net, settings["target"], settings["progress"])
        distilled = lt.distillation_loss(logits, hashed("teacher", tuple(logits.shape), 3.0))
        classes = F.cross_entropy(logits, labels)
        return torch.stack([classes, budget, distilled, classes + budget + 0.5 * distilled])

    def check(self, name, got, scale_of=None):
        """Hold values against the fixture's, on the scale of the largest in it, or in `scale_of`."""
        expected = self.expected[name]
        assert got.shape == expected.shape, name
        scale = max(expected.abs().max(), self.expected[scale_of or name].abs().max())
        tolerance = self.gradient_tolerance if name.startswith("gradient.") else self.tolerance
        assert (got - expected).abs().max() <= tolerance * scale, name


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory):
    """The folder that holds the fixtures."""
    if not PROGRAM:
        return DATA
    folder = tmp_path_factory.mktemp("fixtures")
    subprocess.run([PROGRAM, folder], check=True)
    return folder


@pytest.fixture(params=CASES)
def case(request, fixtures, monkeypatch):
    return Case(fixtures / f"{request.param}.safetensors", monkeypatch)


def test_there_are_fixtures():
    assert len(CASES) == 5


def test_masks_rates_and_logits(case):
    for block, masks in enumerate(lt.block_masks(case.net)):
        case.check(f"difference.{block}", masks.difference)
        assert torch.equal(masks.patches.detach(), case.expected[f"patches.{block}"]), block
        assert torch.equal(masks.perturbed >= 0, masks.patches.bool()), block
    case.check("rates", lt.rates(case.net))
    case.check("dilated_rates", torch.stack([masks.dilated_rate for masks in lt.block_masks(case.net)], 1))
    case.check("logits", case.logits)
    assert 0.1 < case.expected["rates"].mean() < 0.9


def test_losses(case):
    case.check("network_ratios", lt.macs_ratio(case.net))
    case.check("losses", case.losses())


def trainer_name(name):
    """A masker's BatchNorm is part of it in the trainer's checkpoints."""
    return name.replace(".masker.norm.", ".masker.conv2.")


def test_every_gradient(case):
    case.losses()[-1].backward()
    gradients = {name: value.grad for name, value in case.net.named_parameters() if value.grad is not None}
    wanted = {name[len("gradient.") :] for name in case.expected if name.startswith("gradient.")}
    assert set(gradients) == wanted
    for name, gradient in gradients.items():
        # A masker's bias has the sum of what moves its weights, in which most of it cancels.
        weight = name.replace("bias", "weight") if ".masker." in name else name
        case.check(f"gradient.{name}", digest(gradient), f"gradient.{weight}")


def test_running_statistics(case):
    buffers = {trainer_name(name): value for name, value in case.net.named_buffers() if ".running_" in f".{name}"}
    wanted = {name[len("statistic.") :] for name in case.expected if name.startswith("statistic.")}
    assert set(buffers) == wanted
    for name, value in buffers.items():
        case.check(f"statistic.{name}", digest(value))


def test_schedules():
    assert lt.temperature(0) == 5 and abs(lt.temperature(1) - 0.1) < 1e-12
    assert lt.noise_scale(0) == 1 and lt.noise_scale(0.4) == 0.5 and lt.noise_scale(0.9) == 0
    assert lt.noise_scale(0.4, start=0.5) == 0.25 and lt.noise_scale(1, end=0.2, start=0) == 0.2
    assert [lt.ramped_target(0.5, progress) for progress in (0, 0.2, 0.4, 1)] == [1, 0.75, 0.5, 0.5]
    assert lt.bounds(0.4, 0) == (0.4, 0.4)
    assert lt.bounds(0.4, 1 / 3) == pytest.approx((0, 1))
    assert lt.bounds(0.4, 1, hold=0.5) == pytest.approx((0.2, 0.7))


def test_noise_is_logistic():
    noise = _blocks.logistic_noise(torch.empty(200_000))
    assert torch.isfinite(noise).all()
    for threshold in (-2.0, 0.0, 1.0):
        share = (noise < threshold).float().mean()
        assert abs(share - torch.sigmoid(torch.tensor(threshold))) < 0.01
    assert _losses.mean_over_processes(noise, True) is noise
