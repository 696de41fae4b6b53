// A static network run by another library: what this engine is compared with.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lasnet/model.h"
#include "lasnet/precision.h"
#include "lasnet/tensor.h"

namespace lasnet {

/// What a baseline is built for; it runs nothing else.
struct BaselineShape {
  int64_t batch = 1;
  MapSize image = {224, 224};
};

struct BaselineRun {
  Tensor logits;       ///< [N, classes]
  double seconds = 0;  ///< wall time from the input tensor to the logits, copies of both included
};

/// One way of running the network. Not thread safe.
class Baseline {
 public:
  virtual ~Baseline() = default;

  /// "oneDNN".
  virtual std::string name() const = 0;
  /// "2.6.3".
  virtual std::string version() const = 0;
  /// How it was set up: layout, kernels, threads.
  virtual std::string note() const = 0;
  /// input: float32 [N, 3, H, W] of the shape that it was built for. Throws Error on another.
  virtual BaselineRun run(const Tensor& input) = 0;
};

/// The static network of `model`, without its maskers, in oneDNN. There is one object for each layout of the
/// activation maps that may be the fastest: plain NHWC, and whatever oneDNN prefers (blocked). BatchNorm is
/// folded. Bias, ReLU and the residual addition are fused into the convolutions. Weights are packed once in
/// the layout that each convolution asks for.
///
/// In int8 there is one, in NHWC. It has the weights and scales of the model's quantization, and rounds as
/// the engine does but for projections: their bytes have a sign and half the steps.
///
/// Throws Error where this build has no oneDNN, and on a network that oneDNN refuses. In int8, which is
/// without Squeeze-and-Excitation here, on a network with it, and on a model without a quantization.
std::vector<std::unique_ptr<Baseline>> make_onednn_baselines(const Model& model, const BaselineShape& shape,
                                                             int threads,
                                                             Precision precision = Precision::fp32);

}  // namespace lasnet
