"""An unmodified tritonclient against the server; `lasnet forward` and `lasnet run` are the oracle."""

import io
import json
import subprocess

import numpy as np
import pytest
import tritonclient.http as http
from PIL import Image
from tritonclient.utils import InferenceServerException, deserialize_bytes_tensor

from conftest import LASNET, MODEL, PHOTOS


@pytest.fixture
def client(server):
    """A client of the server."""
    with http.InferenceServerClient(server.address) as made:
        yield made


def tensor(array, binary=True):
    """The input of numbers."""
    made = http.InferInput("input", array.shape, "FP32")
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def images(*files):
    """The input of image files."""
    made = http.InferInput("image", [len(files)], "BYTES")
    made.set_data_from_numpy(np.array(list(files), dtype=np.object_))
    return made


def photographs(count, seed=0):
    """Numbers in the range of photographs: the model divides by 255 and no more."""
    return np.random.default_rng(seed).random((count, 3, 160, 160), dtype=np.float32)


@pytest.fixture(scope="session")
def oracle(tmp_path_factory):
    """Logits of an array, by the program."""
    folder = tmp_path_factory.mktemp("oracle")

    def logits(array, *arguments):
        np.save(folder / "x.npy", array)
        subprocess.run([LASNET, "forward", MODEL, "--input", folder / "x.npy", "--output", folder / "y.npy", *arguments],
                       check=True, capture_output=True)
        return np.load(folder / "y.npy")

    return logits


def test_health_and_metadata(client):
    """Everything that a client asks for before it infers."""
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("demo") and client.is_model_ready("demo", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "lasnet"
    metadata = client.get_model_metadata("demo")
    assert metadata["inputs"][0] == {"name": "input", "datatype": "FP32", "shape": [-1, 3, -1, -1]}
    assert {"logits", "probabilities", "rates", "heat_map"} <= {output["name"] for output in metadata["outputs"]}
    config = client.get_model_config("demo")
    assert config["max_batch_size"] == 32 and all(entry["optional"] for entry in config["input"])
    assert client.get_model_repository_index()[0]["state"] == "READY"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_logits_are_the_programs(client, oracle, binary_in, binary_out):
    """JSON and binary, in and out: the same bits."""
    array = photographs(2)
    outputs = [http.InferRequestedOutput("logits", binary_data=binary_out)]
    result = client.infer("demo", [tensor(array, binary_in)], outputs=outputs, request_id="17")
    assert np.array_equal(result.as_numpy("logits"), oracle(array))
    assert result.get_response()["id"] == "17"


def test_usual_outputs(client):
    """What comes unless outputs are named."""
    result = client.infer("demo", [tensor(photographs(3))])
    logits, probabilities = result.as_numpy("logits"), result.as_numpy("probabilities")
    assert logits.shape == probabilities.shape == (3, 6)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(probabilities, expected, atol=1e-6)
    assert result.as_numpy("macs_ratio").shape == (3,)


def test_photographs_are_those_of_run(client):
    """Files of several photographs in one request, against `lasnet run`."""
    files = [photo.read_bytes() for photo in PHOTOS]
    outputs = [http.InferRequestedOutput(name) for name in ("classes", "scores", "macs_ratio", "rates", "masks")]
    result = client.infer("demo", [images(*files)], outputs=outputs, parameters={"top_k": 3})
    run = json.loads(subprocess.run([LASNET, "run", MODEL, *PHOTOS, "--json", "--repeat", "1", "--top", "3"],
                                    check=True, capture_output=True).stdout)
    for i, photo in enumerate(run["images"]):
        assert [name.decode() for name in result.as_numpy("classes")[i]] == [top["class"] for top in photo["top"]]
        assert np.allclose(result.as_numpy("scores")[i], [top["probability"] for top in photo["top"]], atol=1e-5)
        assert np.isclose(result.as_numpy("macs_ratio")[i], photo["macs_ratio"], atol=1e-6)
        assert np.allclose(result.as_numpy("rates")[i], [block["rate"] for block in photo["blocks"]], atol=1e-6)
        for j, block in enumerate(photo["blocks"]):
            assert np.isclose(result.as_numpy("mask." + block["name"])[i].mean(), result.as_numpy("rates")[i, j], atol=1e-6)


def test_an_image_sent_as_json(client, server):
    """Base64, as JSON cannot hold files; by curl's means."""
    import base64
    import urllib.request
    body = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES",
                        "data": [base64.b64encode(PHOTOS[0].read_bytes()).decode()]}]}
    request = urllib.request.Request(server.url + "/v2/models/demo/infer", json.dumps(body).encode())
    got = json.load(urllib.request.urlopen(request))["outputs"][0]["data"]
    expected = client.infer("demo", [images(PHOTOS[0].read_bytes())]).as_numpy("logits")
    assert np.array_equal(np.array(got, np.float32), expected[0])


def test_heat_map_and_density(client):
    """Pictures and their numbers."""
    outputs = [http.InferRequestedOutput(name) for name in ("heat_map", "density")]
    result = client.infer("demo", [images(PHOTOS[0].read_bytes())], outputs=outputs)
    picture = Image.open(io.BytesIO(result.as_numpy("heat_map")[0]))
    assert picture.format == "PNG" and picture.width > 160
    density = result.as_numpy("density")
    assert density.shape == (1, 160, 160) and 0 <= density.min() and density.max() <= 1


def test_classification_extension(client):
    """Triton's own way to ask for the best classes."""
    outputs = [http.InferRequestedOutput("probabilities", class_count=2)]
    result = client.infer("demo", [images(PHOTOS[0].read_bytes())], outputs=outputs)
    value, index, label = result.as_numpy("probabilities")[0, 0].decode().split(":")
    assert label == "bird" and int(index) == 0 and float(value) > 0.5


def test_shared_parameters(client, oracle):
    """Parameters of a request hold for all of its images."""
    array = photographs(2)
    outputs = [http.InferRequestedOutput("logits"), http.InferRequestedOutput("macs_ratio")]
    result = client.infer("demo", [tensor(array)], outputs=outputs, parameters={"threshold": 1.0})
    assert np.array_equal(result.as_numpy("logits"), oracle(array, "--threshold", "1"))
    plain = client.infer("demo", [tensor(array)], outputs=outputs)
    assert (result.as_numpy("macs_ratio") < plain.as_numpy("macs_ratio")).all()
    dense = client.infer("demo", [tensor(array)], outputs=outputs, parameters={"dense": True})
    assert np.array_equal(dense.as_numpy("logits"), oracle(array, "--threshold=-inf"))
    assert np.allclose(dense.as_numpy("macs_ratio"), 1)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client, algorithm):
    """Bodies may be compressed; answers are not, which clients take too."""
    array = np.zeros((1, 3, 160, 160), np.float32)
    got = client.infer("demo", [tensor(array)], request_compression_algorithm=algorithm,
                       response_compression_algorithm=algorithm)
    assert np.array_equal(got.as_numpy("logits"), client.infer("demo", [tensor(array)]).as_numpy("logits"))


def test_requests_at_the_same_time(server):
    """Answers do not get mixed up."""
    arrays = [photographs(1, seed) for seed in range(8)]
    with http.InferenceServerClient(server.address, concurrency=8) as client:
        expected = [client.infer("demo", [tensor(array)]).as_numpy("logits") for array in arrays]
        pending = [client.async_infer("demo", [tensor(array)]) for array in arrays * 4]
        for i, request in enumerate(pending):
            assert np.array_equal(request.get_result().as_numpy("logits"), expected[i % 8])


def test_statistics(client):
    """Counts go up by what was asked."""
    before = client.get_inference_statistics("demo")["model_stats"][0]
    client.infer("demo", [tensor(photographs(3))])
    after = client.get_inference_statistics("demo")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["inference_stats"]["success"]["count"] == before["inference_stats"]["success"]["count"] + 1
    assert client.get_inference_statistics()["model_stats"][0]["name"] == "demo"


@pytest.mark.parametrize("inputs, parameters, words", [
    ([], {}, "inputs"),
    ([tensor(photographs(1)), images(b"x")], {}, "2 tensors"),
    ([tensor(np.zeros((1, 4, 64, 64), np.float32))], {}, "[1, 4, 64, 64]"),
    ([tensor(np.full((1, 3, 64, 64), np.nan, np.float32))], {}, "value 0"),
    ([images(b"not an image")], {}, "inputs[0].data[0]"),
    ([tensor(photographs(1))], {"macs": 2}, "parameters.macs"),
    ([tensor(photographs(1))], {"treshold": 1}, "did you mean threshold"),
])
def test_errors_name_the_field(client, inputs, parameters, words):
    """Status 400 and a reason that helps."""
    with pytest.raises(InferenceServerException) as error:
        client.infer("demo", inputs, parameters=parameters)
    assert error.value.status() == "400" and words in error.value.message()


def test_errors_of_other_calls(client):
    """What is not there, and what this server does not do."""
    for call in (lambda: client.get_model_metadata("other"), lambda: client.infer("other", [tensor(photographs(1))]),
                 lambda: client.get_model_metadata("demo", "2"), lambda: client.load_model("demo"),
                 client.get_system_shared_memory_status, client.get_trace_settings):
        with pytest.raises(InferenceServerException) as error:
            call()
        assert error.value.status() in ("404", "405")
    shared = http.InferInput("input", [1, 3, 160, 160], "FP32")
    shared.set_shared_memory("region", 307200)
    with pytest.raises(InferenceServerException, match="shared memory"):
        client.infer("demo", [shared])


def test_unknown_output(client):
    """Near names are suggested."""
    with pytest.raises(InferenceServerException, match="did you mean logits"):
        client.infer("demo", [tensor(photographs(1))], outputs=[http.InferRequestedOutput("logit")])


def test_raw_bytes_tensors_are_tritons(client):
    """The library's own reader takes our BYTES."""
    outputs = [http.InferRequestedOutput("classes", binary_data=True)]
    result = client.infer("demo", [images(PHOTOS[0].read_bytes())], outputs=outputs, parameters={"top_k": 6})
    header, buffer = result.get_response(), result._buffer  # pylint: disable=protected-access
    assert header["outputs"][0]["parameters"]["binary_data_size"] == len(buffer)
    assert len(deserialize_bytes_tensor(buffer)) == 6
