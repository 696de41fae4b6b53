#include "classes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/fail.h"

namespace lasnet::cli {
std::string class_name(const Model& model, int64_t index) {
  return model.class_names.empty() ? std::to_string(index) : model.class_names[static_cast<size_t>(index)];
}

std::string describe_classes(const ModelSpec& spec) {
  return spec.has_head() ? std::to_string(spec.arch.classes) : "none: a backbone, without a classifier";
}

void require_classifier(const std::string& path, const ModelSpec& spec) {
  if (spec.has_head()) return;
  fail(
      "{}: a backbone without a classifier (0 classes), so it names no class; expected a network with one. "
      "lasnet forward --features writes its maps",
      path);
}

std::optional<int64_t> image_without_class(const Tensor& logits) {
  const auto is_finite = [](float logit) { return std::isfinite(logit); };
  const auto first = std::find_if_not(logits.data.begin(), logits.data.end(), is_finite);
  if (first == logits.data.end()) return std::nullopt;
  return (first - logits.data.begin()) / logits.shape.at(1);
}

std::vector<double> softmax(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  std::vector<double> probabilities;
  double sum = 0;
  for (const float logit : logits) sum += probabilities.emplace_back(std::exp(logit - largest));
  for (double& probability : probabilities) probability /= sum;
  return probabilities;
}

std::vector<int64_t> top_classes(const float* logits, int64_t classes, int k) {
  std::vector<int64_t> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::min<int64_t>(k, classes);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int64_t a, int64_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  order.resize(static_cast<size_t>(count));
  return order;
}

}  // namespace lasnet::cli
