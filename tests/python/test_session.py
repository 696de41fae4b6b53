"""Sessions: memory, threads, interruption, options."""

import array
import copy
import os
import pickle
import signal
import threading
import time
import weakref

import numpy
import pytest

import lasnet
from lasnet import _core


def address(values):
    return values.__array_interface__["data"][0]


@pytest.fixture
def batch():
    return numpy.random.default_rng(0).standard_normal((2, 3, 48, 40), dtype=numpy.float32)


@pytest.fixture(scope="module")
def tiny_session(tiny):
    return lasnet.Session(tiny, threads=1)


def test_contiguous_arrays_are_read_where_they_lie(batch):
    assert _core.input_address(batch) == (address(batch), False)
    assert _core.input_address(batch[1:]) == (address(batch) + batch[0].nbytes, False)
    assert _core.input_address(memoryview(batch)) == (address(batch), False)
    read_only = batch.copy()
    read_only.flags.writeable = False
    assert _core.input_address(read_only) == (address(read_only), False)


def test_torch_is_read_where_it_lies(batch, tiny_session):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(batch)
    assert _core.input_address(x) == (x.data_ptr(), False)
    result = tiny_session.run(x)
    assert numpy.array_equal(result.logits, tiny_session.run(batch).logits)
    assert torch.from_dlpack(result.logits).data_ptr() == address(result.logits)
    assert numpy.array_equal(tiny_session.run(x.to(memory_format=torch.channels_last)).logits, result.logits)
    assert numpy.array_equal(tiny_session.run(x.clone().requires_grad_()).logits, result.logits)
    for wrong in (x.to(torch.bfloat16), x.double(), x.to("meta"), x.to_sparse(), x.to(torch.complex64)):
        with pytest.raises(TypeError, match="x: expected float32"):
            tiny_session.run(wrong)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:, :, :, ::-1],
        lambda x: numpy.asfortranarray(x),
        lambda x: numpy.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        lambda x: numpy.broadcast_to(x[:1], x.shape),
        lambda x: numpy.repeat(x, 2, axis=3)[..., ::2],
    ],
)
def test_other_orders_are_copied(view, batch, tiny_session):
    x = view(batch)
    assert _core.input_address(x)[1]
    expected = tiny_session.run(numpy.ascontiguousarray(x)).logits
    assert numpy.array_equal(tiny_session.run(x).logits, expected)


def test_an_odd_address_is_copied(batch, tiny_session):
    x = numpy.frombuffer(b"?" + batch.tobytes(), dtype=numpy.float32, offset=1).reshape(batch.shape)
    assert _core.input_address(x)[1]
    assert numpy.array_equal(tiny_session.run(x).logits, tiny_session.run(batch).logits)


def test_outputs_are_not_copied(batch, tiny_session):
    result = tiny_session.run(batch)
    # Two views that live at the same time have the same memory.
    assert address(result._handle.logits()) == address(result._handle.logits())
    first, second = result._handle.trace(), result._handle.trace()
    for block, other in zip(first["blocks"], second["blocks"]):
        assert address(block["mask"]) == address(other["mask"])
        assert address(block["logit_difference"]) == address(other["logit_difference"])


def test_results_own_their_memory(tiny, batch):
    session = lasnet.Session(tiny, threads=1)
    result = session.run(batch)
    logits, mask = result.logits, result.trace.blocks[0].mask
    expected = logits.copy(), mask.copy()
    x = numpy.zeros_like(batch)
    for _ in range(3):
        session.run(x)
    session.close()
    gone = weakref.ref(session)
    del session
    assert gone() is None  # the result keeps nothing of it
    assert result.trace.blocks and result.top()
    del result
    assert numpy.array_equal(logits, expected[0]) and numpy.array_equal(mask, expected[1])
    logits[:] = 0  # nobody else's


def test_shapes_and_types(batch, tiny_session):
    result = tiny_session.run(batch)
    assert result.logits.shape == (2, 10) and result.logits.dtype == numpy.float32
    assert result.probabilities.sum(axis=1) == pytest.approx([1, 1])
    assert result.trace.input_size == (48, 40)
    assert result.trace.image_macs.shape == (2,)
    assert len(result.trace.blocks) == 8
    for block in result.trace.blocks:
        assert block.mask.shape == (2, block.height, block.width) and block.mask.dtype == numpy.uint8
        rows = -(-block.height // block.granularity)
        assert block.logit_difference.shape[:2] == (2, rows)
        assert block.rates.shape == (2,)
    assert [len(best) for best in result.top(3)] == [3, 3]
    assert len(result.top(99)[0]) == 10
    assert result.top(1)[0][0][0] == str(int(result.logits[0].argmax()))


def test_without_masks(batch, tiny_session):
    result = tiny_session.run(batch, record_masks=False)
    assert all(block.mask is None and block.logit_difference is None for block in result.trace.blocks)
    assert result.trace.blocks[0].rates.shape == (2,)


def test_dense_is_the_full_mask(batch, tiny_session):
    recorded = tiny_session.run(batch).trace
    ones = {block.name: numpy.ones_like(block.mask) for block in recorded.blocks}
    forced = tiny_session.run(batch, force_masks=ones)
    dense = tiny_session.run(batch, dense=True)
    assert numpy.array_equal(forced.logits, dense.logits)
    assert dense.trace.macs == dense.trace.static_macs


def test_forced_masks(batch, tiny_session):
    empty = {"layer1.0": numpy.zeros((2, 24, 20), dtype=numpy.uint8)}
    half = {"layer1.0": numpy.zeros((2, 24, 20), dtype=bool)}
    half["layer1.0"][:, :12] = True
    assert tiny_session.run(batch, force_masks=half).trace.blocks[0].rate == 0.5
    assert tiny_session.run(batch, force_masks=empty).trace.blocks[0].rate == 0
    with pytest.raises(lasnet.Error, match="layer9"):
        tiny_session.run(batch, force_masks={"layer9.0": empty["layer1.0"]})
    with pytest.raises(TypeError, match=r"force_masks\['layer1.0'\]: expected uint8"):
        tiny_session.run(batch, force_masks={"layer1.0": empty["layer1.0"].astype(float)})
    with pytest.raises(TypeError, match="force_masks"):
        tiny_session.run(batch, force_masks=[1])


def test_features_are_named_shaped_and_not_copied(batch, tiny, tiny_session):
    result = tiny_session.run(batch, features=["layer3", "stem"])
    assert list(result.features) == ["layer3", "stem"]  # as asked
    sizes = {feature.name: (feature.channels, feature.stride) for feature in tiny.features}
    assert list(sizes) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    for name, values in result.features.items():
        channels, stride = sizes[name]
        assert values.shape == (2, channels, -(-48 // stride), -(-40 // stride)) and values.dtype == numpy.float32
        assert address(values) == address(result._handle.features()[name])
    assert numpy.array_equal(result.logits, tiny_session.run(batch).logits)
    assert tiny_session.run(batch).features == {}
    pixels = tiny_session.run(batch, features=["layer3"], feature_layout="nhwc").features["layer3"]
    assert numpy.array_equal(pixels.transpose(0, 3, 1, 2), result.features["layer3"])
    copied = pickle.loads(pickle.dumps(result))
    assert numpy.array_equal(copied.features["stem"], result.features["stem"])


def test_features_outlive_everything_else(batch, tiny):
    session = lasnet.Session(tiny, threads=1)
    values = session.run(batch, features=["layer4"]).features["layer4"]
    expected = values.copy()
    session.run(numpy.zeros_like(batch), features=["layer4"])
    session.close()
    assert numpy.array_equal(values, expected)


def test_features_that_are_not_there(batch, tiny_session):
    with pytest.raises(lasnet.Error, match="feature 'layer5': .* stem, layer1, layer2, layer3, layer4"):
        tiny_session.run(batch, features=["layer5"])
    with pytest.raises(lasnet.Error, match="layout of maps 'chw' is unknown; expected nchw or nhwc"):
        tiny_session.run(batch, features=["layer4"], feature_layout="chw")
    for wrong in ("layer4", 4, [4]):
        with pytest.raises(TypeError, match="features"):
            tiny_session.run(batch, features=wrong)


def test_a_backbone_has_maps_and_no_classes(batch):
    whole = lasnet.create("resnet18", granularity="4-4-2-1", width=0.125, classes=10, stem="small")
    backbone = lasnet.create("resnet18", granularity="4-4-2-1", width=0.125, classes=0, stem="small")
    result = lasnet.Session(backbone, threads=1).run(batch, features=["layer4"])
    expected = lasnet.Session(whole, threads=1).run(batch, features=["layer4"])
    assert backbone.classes == 0 and result.logits.shape == (2, 0)
    assert numpy.array_equal(result.features["layer4"], expected.features["layer4"])
    with pytest.raises(lasnet.Error, match="backbone without a classifier"):
        result.top()


def test_dilated_stages_keep_their_maps_large(batch, tmp_path):
    model = lasnet.create("resnet50", granularity="4-4-2-1", width=0.125, classes=0, dilated_stages=2)
    model.save(tmp_path / "m.safetensors")
    assert lasnet.load(tmp_path / "m.safetensors").dilated_stages == 2
    assert [feature.stride for feature in model.features] == [4, 4, 8, 8, 8]
    maps = lasnet.Session(model, threads=1).run(batch, features=["layer4"]).features
    assert maps["layer4"].shape == (2, 256, 6, 5)
    with pytest.raises(lasnet.Error, match="dilated_stages: 4; expected 0 to 3"):
        lasnet.create("resnet50", dilated_stages=4)
    with pytest.raises(lasnet.Error, match="only ResNets with bottleneck blocks"):
        lasnet.create("resnet18", dilated_stages=1)


@pytest.mark.parametrize("isa", lasnet.available_isas())
def test_instruction_sets(isa, tiny, batch, tiny_session):
    session = lasnet.Session(tiny, threads=1, isa=isa)
    assert session.isa == isa
    assert session.run(batch).logits == pytest.approx(tiny_session.run(batch).logits, abs=1e-4)


def test_results_do_not_depend_on_threads_or_batch(tiny, batch, tiny_session):
    expected = tiny_session.run(batch).logits
    with lasnet.Session(tiny, threads=3) as session:
        assert session.threads == 3
        assert numpy.array_equal(session.run(batch).logits, expected)
        assert numpy.array_equal(session.run(batch[1:]).logits, expected[1:])


def test_reference_backend(tiny, batch, tiny_session):
    session = lasnet.Session(tiny, backend="reference")
    assert (session.backend, session.isa) == ("reference", "scalar")
    assert session.run(batch).logits == pytest.approx(tiny_session.run(batch).logits, abs=1e-4)


def test_schedule(tiny, batch, tiny_session):
    session = lasnet.Session(tiny, threads=1, schedule="masker=separate,gather=copied")
    assert session.run(batch).logits == pytest.approx(tiny_session.run(batch).logits, abs=1e-4)


def test_default_threads(tiny):
    assert lasnet.Session(tiny).threads == lasnet.default_threads() >= 1


def test_check_finite_names_the_layer(tiny, tmp_path):
    x = numpy.full((1, 3, 32, 32), 3e38, dtype=numpy.float32)
    with pytest.raises(lasnet.Error, match="conv1"):
        lasnet.Session(tiny, threads=1).run(x, check_finite=True)


def test_top_needs_finite_logits(tiny):
    result = lasnet.Session(tiny, threads=1).run(numpy.full((1, 3, 32, 32), 3e38, dtype=numpy.float32))
    assert not numpy.isfinite(result.logits).all()
    with pytest.raises(lasnet.Error, match="top: the logits of image 0"):
        result.top()


def test_closed(tiny, batch):
    session = lasnet.Session(tiny, threads=2)
    result = session.run(batch)
    session.close()
    session.close()
    with pytest.raises(lasnet.Error, match="session: it is closed"):
        session.run(batch)
    assert result.logits.shape == (2, 10)
    assert "2 threads" in repr(session)


def test_sessions_share_weights(tiny, batch):
    """Compiled once for equal options, again once nobody has them any more."""
    first, second = lasnet.Session(tiny, threads=1), lasnet.Session(tiny, threads=1)
    expected = first.run(batch).logits
    first.close()
    assert numpy.array_equal(second.run(batch).logits, expected)
    second.close()
    assert numpy.array_equal(lasnet.Session(tiny, threads=1).run(batch).logits, expected)


def test_one_session_in_many_threads(tiny, batch):
    session = lasnet.Session(tiny, threads=2)
    inputs = [numpy.roll(batch, shift, axis=3) for shift in range(8)]
    expected = [session.run(x).logits.copy() for x in inputs]
    wrong = []

    def work(index):
        for _ in range(30):
            if not numpy.array_equal(session.run(inputs[index]).logits, expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_closing_while_another_thread_runs(tiny, batch):
    session = lasnet.Session(tiny, threads=1)
    errors = []

    def work():
        try:
            while True:
                session.run(batch)
        except lasnet.Error as error:
            errors.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    session.close()
    for thread in threads:
        thread.join()
    assert len(errors) == 3 and all("closed" in error for error in errors)


def test_other_python_threads_go_on(model, x):
    """A counter in this thread moves while another runs the network: the GIL is not held."""
    session = lasnet.Session(model, threads=1)
    batch = numpy.repeat(x, 8, axis=0)
    began, ended, seen = threading.Event(), threading.Event(), []

    def work():
        began.set()
        seen.append(count[0])
        session.run(batch)
        seen.append(count[0])
        ended.set()

    count = [0]
    thread = threading.Thread(target=work)
    thread.start()
    began.wait()
    while not ended.is_set():
        count[0] += 1
    thread.join()
    assert seen[1] - seen[0] > 1000


def test_keyboard_interrupt(model, x):
    """Ctrl-C ends a run between its blocks, and the session can be used again."""
    session = lasnet.Session(model, threads=1)
    batch = numpy.repeat(x, 64, axis=0)
    finished = []
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        timer.start()
        while True:
            session.run(batch)
            finished.append(time.monotonic())
    assert numpy.isfinite(session.run(x).logits).all()


def test_child_processes(tiny, batch):
    """A session works in a child of fork."""
    session = lasnet.Session(tiny, threads=2)
    expected = session.run(batch).logits
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        same = numpy.array_equal(session.run(batch).logits, expected)
        os.write(writer, b"same" if same else b"other")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 5) == b"same"


def test_pickles(model, session, x, result):
    again = pickle.loads(pickle.dumps(session))
    assert again.model.path == model.path and again.threads == session.threads
    assert numpy.array_equal(again.run(x).logits, result.logits)
    other = pickle.loads(pickle.dumps(result))
    assert other.top() == result.top() and other.trace.macs == result.trace.macs
    assert numpy.array_equal(other.trace.blocks[0].mask, result.trace.blocks[0].mask)
    assert copy.copy(model).path == model.path
    with pytest.raises(lasnet.Error, match="gone"):
        raise pickle.loads(pickle.dumps(lasnet.Error("gone")))


def test_what_has_no_file_says_so(tiny):
    with pytest.raises(TypeError, match="save it"):
        pickle.dumps(tiny)


def test_objects_without_a_shape(batch, tiny_session):
    values = array.array("f", batch.tobytes())
    view = memoryview(values).cast("B").cast("f", batch.shape)
    result = tiny_session.run(view)
    assert result.trace.input_size == (48, 40)
    assert numpy.array_equal(result.logits, tiny_session.run(batch).logits)


def test_handles_are_made_by_functions():
    for kind in (lasnet.Model, lasnet.Result):
        with pytest.raises(TypeError, match="made by"):
            kind()
