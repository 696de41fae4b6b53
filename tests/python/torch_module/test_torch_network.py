"""Making networks dynamic: what is kept, what is refused, and what else of PyTorch works with it."""

import copy
import io
import pickle
import types

import pytest
from torch_support import hashed, network, set_hashed_values, torch, torchvision

import lasnet.torch as lt
from lasnet.torch import _blocks

F = torch.nn.functional
GRANULARITY = "4-4-2-1"


def dynamic_network(name="resnet18", **options):
    return set_hashed_values(lt.dynamic(network(name), GRANULARITY, **options))


def images(count=2):
    return hashed("images", (count, 3, 64, 64), 1.7)


def train_step(net, x, call=None):
    """Gradients of one step with a fixed seed; `call` computes the logits, by default the network."""
    torch.manual_seed(1)
    net.zero_grad()
    loss = (call or net)(x).square().mean() + lt.budget_loss(net, 0.5, 0.1)
    loss.backward()
    return {name: value.grad.clone() for name, value in net.named_parameters()}


def assert_close(got, expected, tolerance=1e-4):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert (got[name] - value).abs().max() <= tolerance * value.abs().max().clamp_min(1e-3), name


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet34", "resnet50", "resnet101", "resnext50_32x4d", "wide_resnet50_2"]
    + ["regnet_y_400mf", "regnet_y_800mf", "regnet_y_1_6gf"],
)
def test_torchvisions_networks_keep_their_names_and_parameters(name):
    model = getattr(torchvision.models, name)(num_classes=3)
    before = dict(model.named_parameters())
    net = lt.dynamic(model, GRANULARITY)
    assert net is model and net.architecture.name == name and net.architecture.width == 1
    added = {f"{block}.masker.conv2.{part}" for block in net.architecture.blocks for part in ("weight", "bias")}
    assert set(net.state_dict()) == set(getattr(torchvision.models, name)(num_classes=3).state_dict()) | added
    for parameter, value in before.items():
        assert net.get_parameter(parameter) is value
    bias = 10 if "regnet" in name else 5
    for block in lt.dynamic_blocks(net):
        assert block.masker.conv2.bias.tolist() == [bias, 0]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "regnet_y_800mf", "resnext50_32x4d"])
def test_full_masks_are_the_static_network(name):
    static = set_hashed_values(network(name)).eval()
    net = lt.dynamic(copy.deepcopy(static), GRANULARITY).eval()
    for block in lt.dynamic_blocks(net):
        torch.nn.init.zeros_(block.masker.conv2.weight)
    with torch.no_grad():
        expected, got = static(images()), net(images())
    assert (lt.rates(net) == 1).all()
    if "regnet" in name:  # the mean over all pixels, computed in another order
        assert torch.allclose(got, expected, rtol=1e-4, atol=1e-4)
    else:
        assert torch.equal(got, expected)


def test_squeeze_excite_of_one_active_pixel_has_the_gradient_of_a_mean():
    se = types.SimpleNamespace(fc1=torch.nn.Identity(), fc2=torch.nn.Identity())
    y, mask = torch.tensor([[[[0.5, 2.0]]]]), torch.tensor([[[[1.0, 0.0]]]], requires_grad=True)
    _blocks._squeeze_excite(se, y, mask).sum().backward()
    gate = torch.sigmoid(torch.tensor(0.5))
    expected = 2.5 * gate * (1 - gate) * torch.tensor([0.0, 1.5])
    assert torch.allclose(mask.grad.flatten(), expected)


def test_empty_masks_leave_the_identity():
    net = dynamic_network().eval()
    block = net.layer1[1]
    torch.nn.init.zeros_(block.masker.conv2.weight)
    block.masker.conv2.bias.data = torch.tensor([-1.0, 0.0])
    x = torch.rand(2, 16, 16, 16)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(
    "make, reason",
    [
        (torchvision.models.vgg11, "VGG: it is neither a ResNet nor a RegNet"),
        (torchvision.models.regnet_x_400mf, "no architecture has stages of 1-2-7-12"),
        (torchvision.models.regnet_x_8gf, "no architecture has stages"),
        (lambda: torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1]), "stages of 1-1-1-1"),
        (lambda: _with(network("resnet50"), "layer2.0.conv2.dilation", (2, 2)), "layer2.0.conv2: shape, stride"),
        (lambda: _with(network("resnet18"), "bn1.eps", 1e-3), "bn1: the epsilon is 0.001"),
        (lambda: _with(network("resnet18"), "layer1.0.relu", torch.nn.GELU()), "its activation is GELU"),
        (lambda: _with(network("resnet18"), "layer1.0.extra", torch.nn.Identity()), "a block has a part 'extra'"),
        (lambda: _with(network("resnet18"), "avgpool", torch.nn.AdaptiveAvgPool2d(2)), "its last pooling"),
        (lambda: _with(network("regnet_y_400mf"), "trunk_output.block1.block1-0.f.se", None), "it is a RegNetX"),
    ],
)
def test_other_networks_are_refused_by_name(make, reason):
    model = make()
    before = [type(module) for module in model.modules()]
    with pytest.raises(ValueError, match=reason):
        lt.dynamic(model)
    assert [type(module) for module in model.modules()] == before


def _with(model, path, value):
    *parents, name = path.split(".")
    setattr(model.get_submodule(".".join(parents)), name, value)
    return model


@pytest.mark.parametrize("granularity", ["", "4-4-2", "4-4-2-0", "4-4-x-1", "4-layers", [4, 4, 2], [1] * 9])
def test_wrong_granularities_are_refused(granularity):
    with pytest.raises(ValueError, match="granularity .*expected 4 integers >= 1"):
        lt.dynamic(network("resnet18"), granularity)


def test_granularity_per_block():
    net = lt.dynamic(network("resnet18"), range(1, 9))
    assert [block.granularity for block in lt.dynamic_blocks(net)] == list(range(1, 9))
    assert net.architecture.granularity == tuple(range(1, 9))


def test_layer_skipping_averages_the_whole_map():
    net = lt.dynamic(network("resnet18"), "layer").eval()
    assert net.architecture.granularity_text == "layer-layer-layer-layer"
    x = images()
    with torch.no_grad():
        net(x)
        trunk = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        weight, bias = net.layer1[0].masker.conv2.weight[..., 0, 0], net.layer1[0].masker.conv2.bias
        logits = trunk.mean((2, 3)) @ weight.T + bias
    first = lt.block_masks(net)[0]
    assert torch.allclose(first.difference[:, 0, 0, 0], logits[:, 0] - logits[:, 1], atol=1e-5)
    for masks in lt.block_masks(net):
        assert masks.patches.shape[1:] == (1, 1, 1)
        assert torch.equal(masks.mask, masks.patches.expand_as(masks.mask))


def test_layer_stands_among_granularities():
    net = lt.dynamic(network("resnet18"), (4, 2, "layer", 1))
    assert net.architecture.granularity_text == "4-2-layer-1"
    assert lt.dynamic(network("resnet18"), "4-2-layer-1").architecture == net.architecture


def test_wrong_uses_are_refused():
    net = lt.dynamic(network("resnet18"))
    with pytest.raises(ValueError, match="dynamic already"):
        lt.dynamic(net)
    with pytest.raises(TypeError, match="model: expected a torch.nn.Module, got str"):
        lt.dynamic("resnet50")
    with pytest.raises(ValueError, match="it has not run yet"):
        lt.budget_loss(net, 0.5, 0)
    with pytest.raises(ValueError, match="Linear has no dynamic blocks"):
        lt.rates(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="target: .*got 50"):
        lt.budget_loss(net, 50, 0)
    for name, value in [("temperature", 0), ("temperature", float("nan")), ("noise_scale", 1.5)]:
        with pytest.raises(ValueError, match=f"{name}: expected a number"):
            setattr(net, name, value)


def test_temperature_reaches_every_masker():
    net = lt.dynamic(network("resnet18"))
    assert net.temperature == 5
    net.temperature, net.noise_scale = 0.5, 0.25
    assert [float(block.masker.temperature) for block in lt.dynamic_blocks(net)] == [0.5] * 8
    assert [float(block.masker.noise_scale) for block in lt.dynamic_blocks(net)] == [0.25] * 8


def test_temperature_may_be_set_before_the_backward_pass():
    net = dynamic_network()
    torch.manual_seed(1)
    loss = net(images()).square().mean() + lt.budget_loss(net, 0.5, 0.1)
    net.temperature = 0.1
    loss.backward()
    got = {name: value.grad.clone() for name, value in net.named_parameters()}
    net = dynamic_network()
    assert_close(got, train_step(net, images()))


def test_evaluation_has_no_noise_and_training_has():
    net = dynamic_network()
    net.eval()
    assert torch.equal(net(images()), net(images()))
    net.train()
    assert not torch.equal(net(images()), net(images()))


@pytest.mark.parametrize("standardise", [False, True])
def test_copies_and_pickles_are_networks_of_their_own(standardise):
    net = dynamic_network(standardise_maskers=standardise)
    train_step(net, images())
    net.temperature = 0.5
    stream = io.BytesIO()
    torch.save(net, stream)
    stream.seek(0)
    newer = {} if torch.__version__.startswith("1.13") else {"weights_only": False}
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), torch.load(stream, **newer)):
        assert type(other) is type(net) and isinstance(other, torchvision.models.ResNet)
        assert other.temperature == 0.5
        other.temperature = 2.0
        assert net.temperature == 0.5
        assert torch.equal(other.eval()(images()), net.eval()(images()))
        other.layer1[0].masker.conv2.bias.data[0] -= 100
        assert not torch.equal(other(images()), net(images()))


def test_moving_average_of_weights():
    net = dynamic_network()
    train_step(net, images())
    average = torch.optim.swa_utils.AveragedModel(net, avg_fn=lambda old, new, count: 0.5 * (old + new))
    average.update_parameters(net)
    for parameter in net.parameters():
        parameter.data *= 3
    average.update_parameters(net)
    name = "layer1.0.masker.conv2.weight"
    assert torch.allclose(average.module.get_parameter(name) * 1.5, net.get_parameter(name))
    assert average.eval()(images()).shape == (2, 7)
    assert lt.macs_ratio(average).shape == (2,)


def test_channels_last_is_kept():
    net = dynamic_network("resnet50").to(memory_format=torch.channels_last).eval()
    outputs = []
    for block in lt.dynamic_blocks(net):
        block.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    channels_last = net(images().contiguous(memory_format=torch.channels_last))
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in outputs[:13])
    plain = net.to(memory_format=torch.contiguous_format)(images())
    assert torch.allclose(channels_last, plain, rtol=1e-3, atol=1e-3)


def test_autocast_decides_in_float32():
    net = dynamic_network("regnet_y_800mf")
    net.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(images())
        loss = logits.float().square().mean() + lt.budget_loss(net, 0.5, 0.1)
    assert logits.dtype == torch.bfloat16
    for masks in lt.block_masks(net):
        assert {value.dtype for value in masks} == {torch.float32}
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    # A block decides the same on the same map, with and without.
    block, x = net.trunk_output[0][0].eval(), torch.rand(2, 16, 32, 32)
    block(x)
    expected = block.masks.difference
    with torch.autocast("cpu", dtype=torch.bfloat16):
        block(x)
    assert torch.equal(block.masks.difference, expected)


def checkpointed(net, **options):
    """The forward pass of torchvision's ResNet, each stage recomputed in the backward pass."""
    checkpoint = torch.utils.checkpoint.checkpoint

    def call(x):
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            x = checkpoint(stage, x, **options)
        return net.fc(net.avgpool(x).flatten(1))

    return call


@pytest.mark.parametrize("standardise", [False, True])
def test_gradient_checkpointing(standardise):
    net = dynamic_network(standardise_maskers=standardise)
    expected = train_step(net, images())
    got = train_step(net, images(), checkpointed(net, use_reentrant=False))
    assert_close(got, expected)


def test_reentrant_checkpointing_is_refused_by_the_loss():
    net = dynamic_network()
    with pytest.raises(ValueError, match="use_reentrant=False"):
        train_step(net, images(), checkpointed(net, use_reentrant=True))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiling(backend):
    if not hasattr(torch, "compile"):
        pytest.skip(f"torch {torch.__version__} has no torch.compile")
    # Noise of compiled code is another one, so there is none here.
    net = dynamic_network(standardise_maskers=True)
    net.noise_scale = 0
    net.temperature = 3
    expected = train_step(net, images())
    expected_rates = lt.rates(net).detach()
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    got = train_step(compiled, images())
    assert_close({name.replace("_orig_mod.", ""): value for name, value in got.items()}, expected, 1e-3)
    assert torch.equal(lt.rates(compiled), expected_rates)
    counted = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for temperature in (2.0, 1.0, 0.5):
        net.temperature = temperature
        train_step(compiled, images())
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == counted, "a temperature compiles nothing"


def test_layers_in_another_network():
    """A backbone of a detector: its stages, without the network around them."""
    net = dynamic_network("resnet50")
    body = torchvision.models._utils.IntermediateLayerGetter(net, {"layer2": "0", "layer4": "1"})
    body.train()
    maps = body(images())
    assert [tuple(value.shape) for value in maps.values()] == [(2, 128, 8, 8), (2, 512, 2, 2)]
    (sum(value.mean() for value in maps.values()) + lt.budget_loss(body, 0.5, 0.1)).backward()
    assert body.conv1.weight.grad is not None
    assert lt.macs_ratio(body).shape == (2,)


def test_modes_of_layers_are_kept():
    model = network("resnet18")
    model.layer1[0].bn1.eval()
    model.layer2.eval()
    before = {name: module.training for name, module in model.named_modules()}
    after = {name: module.training for name, module in lt.dynamic(model).named_modules()}
    assert {name: after[name] for name in before} == before
    assert after["layer1.0.masker"] and not after["layer2.0.masker"]


def test_frozen_batch_norms():
    frozen = torchvision.ops.misc.FrozenBatchNorm2d
    net = lt.dynamic(torchvision.models.resnet18(norm_layer=frozen), GRANULARITY)
    train_step(net, images())
    assert len(lt.dynamic_blocks(net)) == 8


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet101", "wide_resnet50_2", "resnext50_32x4d"])
def test_timms_plain_networks(name):
    timm = pytest.importorskip("timm")
    model = timm.create_model(name, num_classes=3).eval()
    x = images()
    with torch.no_grad():
        expected = model(x)
    net = lt.dynamic(model, GRANULARITY)
    for block in lt.dynamic_blocks(net):
        torch.nn.init.zeros_(block.masker.conv2.weight)
    assert net.architecture.name == name
    assert torch.allclose(net(x), expected, rtol=1e-4, atol=1e-5)
    torchvision_names = lt.dynamic(getattr(torchvision.models, name)(num_classes=3), GRANULARITY).state_dict()
    assert set(net.state_dict()) == set(torchvision_names)


def test_timms_checkpointing():
    timm = pytest.importorskip("timm")
    net = lt.dynamic(timm.create_model("resnet18", num_classes=3), GRANULARITY)
    expected = train_step(net, images())
    net.set_grad_checkpointing(True)
    assert_close(train_step(net, images()), expected)


@pytest.mark.parametrize(
    "name", ["resnet50d", "resnetaa50", "seresnet50", "resnetv2_50", "regnety_008", "ecaresnet50t"]
)
def test_timms_variants_are_refused_by_name(name):
    timm = pytest.importorskip("timm")
    with pytest.raises(ValueError, match=f"model {name}: "):
        lt.dynamic(timm.create_model(name))
