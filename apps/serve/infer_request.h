// The body of an inference request of the Open Inference Protocol v2: JSON, with tensors in it or, by the
// binary tensor extension, behind it. Bytes become values here; what they mean to a model is inference.h's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http.h"
#include "lasnet/tensor.h"

namespace lasnet::serve {

/// One tensor of a request. Its values are in `floats` or `texts` if they came as JSON, else in `raw`.
struct InputTensor {
  std::string name;
  std::string datatype;  ///< "FP32", "BYTES", ...
  Shape shape;           ///< every dimension at least 1; what `values` says fills it
  std::vector<float> floats = {};
  std::vector<std::string> texts = {};           ///< decoded from base64
  std::optional<std::string_view> raw = {};      ///< little-endian FP32, in the body
  std::vector<std::string_view> raw_texts = {};  ///< of BYTES, in the body

  /// Of a BYTES tensor, in order.
  std::vector<std::string_view> elements() const;
};

/// An output that the request names.
struct RequestedOutput {
  std::string name;
  bool binary = false;     ///< behind the JSON instead of in it
  int classification = 0;  ///< > 0: "value:index:label" of so many classes instead of all values
};

/// What the body says. Views are into it.
struct InferRequest {
  std::string id = {};
  Json parameters = Json::object();  ///< booleans, numbers and texts by name
  std::vector<InputTensor> inputs = {};
  std::vector<RequestedOutput> outputs = {};  ///< empty: the usual ones
  bool binary_outputs = false;                ///< of outputs that are not named
};

/// Reads a body. `json_length` is the text of the header Inference-Header-Content-Length, where there is one:
/// the size of the JSON, behind which the tensors lie. "0": the body is one image file. Throws RequestError
/// that names the field, also where the JSON has more than `max_values` values. So the memory that a body
/// takes is a few times its own size, and bounded.
InferRequest parse_infer_request(std::string_view body, const std::optional<std::string>& json_length,
                                 size_t max_values);

}  // namespace lasnet::serve
