// What logits say, in words.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lasnet/model.h"
#include "lasnet/tensor.h"

namespace lasnet::cli {
/// The class's name, or its number where the model has no names.
std::string class_name(const Model& model, int64_t index);

/// How many classes it tells apart; in words, where it has no classifier.
std::string describe_classes(const ModelSpec& spec);
/// Throws Error about the model in `path` if it has no classifier.
void require_classifier(const std::string& path, const ModelSpec& spec);

/// The first image whose logits are not all finite numbers.
std::optional<int64_t> image_without_class(const Tensor& logits);
/// Why there is none: what follows a photograph's name.
inline constexpr const char* kLogitsNotFinite =
    "its logits are not finite numbers, so it has no class: the weights are too large, or the input or its "
    "mean "
    "and std are not what the network was trained on (--check-finite names the first layer)";

/// The probabilities that logits of one image stand for.
std::vector<double> softmax(std::span<const float> logits);

/// Indices of the k largest values of one row of logits, best first.
std::vector<int64_t> top_classes(const float* logits, int64_t classes, int k);

}  // namespace lasnet::cli
