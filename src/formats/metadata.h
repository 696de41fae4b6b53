// The JSON text that a model file keeps under the key `lasnet`: everything of a Model but its weights.
//
//   {"version": 1,
//    "architecture": {"name": "resnet18", "width": 0.5, "classes": 2, "stem": "small", "granularity":
//    "4-4-2-1"}, "class_names": ["cat", "dog"], "preprocessing": {"resize": 146, "crop": 128, "mean": [0.485,
//    0.456, 0.406], "std": [0.229, 0.224, 0.225]}, "masker": {"kind": "mean-pool-conv1x1", "logits": 2},
//    "training": {}}
//
// A model that has been tuned also has its operating points, which have a version of their own:
//
//    "operating_points": {"version": 1, "points": [{"macs_ratio": 0.5, "top1": 0.9, "thresholds": [0.1, ...],
//    "rates": [0.4, ...], "predicted_ms": {"cpu-avx2": 8.1}}, ...]}
// One with int8 weights says how its maps are kept in bytes, also under a version of its own:
//
//    "quantization": {"version": 1, "method": "mse", "images": 128, "maps": {"input": {"scale": 0.0187,
//    "zero": 114, "clipped": 0.0}, "conv1": ...}}
#pragma once

#include <string>

#include "lasnet/model.h"

namespace lasnet {

inline constexpr const char* kMetadataKey = "lasnet";
inline constexpr int kMetadataVersion = 1;
inline constexpr int kOperatingPointsVersion = 1;
inline constexpr int kQuantizationVersion = 1;
/// More than anybody measures, fewer than fill a memory.
inline constexpr size_t kMaxOperatingPoints = 1000;
/// The largest resize and crop, in px: above any network's, below what exhausts a machine.
inline constexpr int kMaxPreparedSide = 4096;

std::string write_metadata(const Model& model);

/// Returns the described model without weights. Every key is required but `se_pool`, `class_folders`,
/// `operating_points` and `quantization` (whose layers stay empty), and no other is accepted, so that a file
/// is never run as something else than it was trained as. Throws Error naming `origin`, the key, expected and
/// got.
Model parse_metadata(const std::string& text, const std::string& origin);

/// Throws Error unless class names are absent or one per class, the preprocessing can be carried out, and
/// operating points are in order (Model::operating_points), with finite values for each block.
void check_metadata(const Model& model, const std::string& origin);

}  // namespace lasnet
