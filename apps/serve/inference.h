// What a request asks of a model, and the answer: between the protocol and the engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "infer_request.h"
#include "lasnet/image.h"
#include "served_model.h"

namespace lasnet::serve {

/// What requests may ask for, at most.
struct InferenceLimits {
  int max_images = 32;                       ///< in a request
  int64_t max_photo_pixels = 50'000'000;     ///< of an image file, before it is decoded
  int64_t max_input_pixels = 2048LL * 2048;  ///< height * width of the network's input, times images

  /// Values of a tensor, at most.
  size_t max_values() const { return static_cast<size_t>(3 * max_input_pixels); }
};

/// An output that a request is to have.
struct WantedOutput {
  OutputSpec spec;
  bool binary = false;
  int classification = 0;
};

/// A request that fits its model, not yet computed. Views are into the request's body.
struct Inference {
  std::shared_ptr<const ServedModel> model;
  InferRequest request;
  bool is_image = false;  ///< image files, not a tensor
  int64_t images = 1;
  std::optional<MapSize> size;    ///< of the network's input, where it is known before images are decoded
  std::vector<float> thresholds;  ///< of RunOptions
  bool dense = false;
  int top_k = 5;
  std::vector<WantedOutput> outputs;
  std::optional<std::chrono::microseconds> timeout;  ///< that the client asks for

  /// Whether any output needs recorded masks.
  bool needs_masks() const;
  /// Whether one run can compute both: the same model, size and thresholds.
  bool runs_with(const Inference& other) const;
};

/// Checks the request against the model. `threads`: of a session, for budgets of time. Throws RequestError.
Inference resolve(std::shared_ptr<const ServedModel> model, InferRequest request,
                  const InferenceLimits& limits, int threads);

/// The network's input of one request, and the photographs that its pictures show.
struct PreparedInput {
  PreparedInput() = default;
  PreparedInput(PreparedInput&&) = default;  // a copy of the view would be of what it was copied from
  PreparedInput& operator=(PreparedInput&&) = default;

  TensorView input;           ///< [N, 3, H, W], finite: the request's own values, or `values`
  std::vector<float> values;  ///< where the request's own cannot be used
  std::vector<Image> photos;  ///< of each image, if it has heat maps
};
/// Decodes and preprocesses. The result may view the request. Throws RequestError on what is no image or not
/// finite.
PreparedInput prepare(const Inference& inference, const InferenceLimits& limits);

/// An output's values.
struct OutputTensor {
  std::string name;
  std::string datatype;
  Shape shape;
  std::variant<std::vector<float>, std::vector<uint8_t>, std::vector<std::string>> values;
  bool binary = false;  ///< behind the JSON
  bool base64 = false;  ///< texts are files: base64 in JSON
};

/// What is said beside the outputs.
struct AnswerFacts {
  double run_ms = 0;      ///< of the engine, for all images that ran together
  double macs_ratio = 1;  ///< mean over this request's images
};

/// The outputs of a request whose images are [first, first + inference.images) of `result`. Throws
/// RequestError where JSON is asked for and a value is not finite.
std::vector<OutputTensor> outputs_of(const Inference& inference, const PreparedInput& prepared,
                                     const Result& result, int64_t first);
/// Mean of the images' MACs over those of the static network.
double macs_ratio_of(const Trace& trace, int64_t first, int64_t images);

/// The response as the protocol has it: JSON, and binary tensors behind it.
HttpResponse infer_response(const Inference& inference, const std::vector<OutputTensor>& outputs,
                            const AnswerFacts& facts);

}  // namespace lasnet::serve
