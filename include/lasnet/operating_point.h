// Choosing how much of a network is computed: one trained model, any budget. The operating points of a model
// (`tune`, lasnet/tune.h) say which thresholds give which MAC ratio at which accuracy. Between neighbouring
// points thresholds are interpolated.
//
//   Model model = load_model("tuned.safetensors");
//   OperatingPoint point = operating_point(model, {.macs = 0.4});
//   Result result = session.run(input, {.thresholds = point.thresholds});
#pragma once

#include <optional>

#include "lasnet/hardware.h"
#include "lasnet/latency.h"
#include "lasnet/model.h"

namespace lasnet {

/// What a run may cost: a MAC ratio, or a predicted time. One of the two.
struct OperatingBudget {
  /// Multiply-accumulates over those of the static network, mean over images.
  std::optional<double> macs = std::nullopt;
  /// Time of a batch as predict_latency predicts it from the blocks' activation rates.
  std::optional<double> seconds = std::nullopt;
  /// For which `seconds` holds; default: this machine's CPU.
  std::optional<HardwareProfile> hardware = std::nullopt;
  /// Of the images, for `seconds`; default: the model's crop, else 224 px.
  std::optional<MapSize> size = std::nullopt;
  int64_t batch = 1;                      ///< images per run, for `seconds`
  int threads = 1;                        ///< of a CPU, for `seconds`
  Precision precision = Precision::fp32;  ///< for `seconds`; not tf32. bf16 takes as long as fp16
};

/// The most accurate operating point within the budget. A budget above the largest point gives that point.
/// For a time, its prediction is in OperatingPoint::predicted_ms.
///
/// Throws Error on a model without operating points, on anything but one of `macs` and `seconds`, and on a
/// budget below the least that the model reaches, which the message says. It also does on a ratio above 1,
/// and as predict_latency does.
LASNET_EXPORT OperatingPoint operating_point(const Model& model, const OperatingBudget& budget);

/// Milliseconds that a point is predicted to take on `hardware`, for one image of the model's size on one
/// thread. Throws Error as predict_latency does.
LASNET_EXPORT double predicted_ms(const Model& model, const OperatingPoint& point,
                                  const HardwareProfile& hardware);

}  // namespace lasnet
