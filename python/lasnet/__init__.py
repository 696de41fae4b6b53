"""Spatially dynamic convolutional networks: run sparse, predicted, shown.

>>> import lasnet
>>> model = lasnet.load("models/demo.safetensors")
>>> session = lasnet.Session(model)
>>> result = session.run(model.preprocess("samples/bird_nuthatch.jpg"))
>>> result.top(1)[0][0][0]
'bird'

Everything that is public is here; modules that begin with an underscore are not. Importing reads no file, starts
no thread and changes no global state. NumPy is imported by the first array.
"""

from ._core import Error
from ._core import version as _version
from ._latency import (
    BlockLatency,
    GranularitySearch,
    HardwareProfile,
    NetworkLatency,
    OperatorLatency,
    SearchCurve,
    hardware_profiles,
    predict_latency,
    search,
)
from ._model import Feature, Model, Preprocessing, architectures, convert, create, load
from ._operating import OperatingPoint
from ._pictures import heat_map, mask_sheet
from ._quantize import clipped_shares, quantize
from ._session import BlockTrace, Result, Session, Trace, available_isas, cuda_devices, default_threads
from ._tune import tune

__version__: str = _version()

__all__ = [
    "BlockLatency",
    "BlockTrace",
    "Error",
    "Feature",
    "GranularitySearch",
    "HardwareProfile",
    "Model",
    "NetworkLatency",
    "OperatingPoint",
    "OperatorLatency",
    "Preprocessing",
    "Result",
    "SearchCurve",
    "Session",
    "Trace",
    "architectures",
    "available_isas",
    "clipped_shares",
    "convert",
    "create",
    "cuda_devices",
    "default_threads",
    "hardware_profiles",
    "heat_map",
    "load",
    "mask_sheet",
    "predict_latency",
    "quantize",
    "search",
    "tune",
]

for _name in __all__:  # what tracebacks, help() and pickles call them by
    globals()[_name].__module__ = __name__
del _name
