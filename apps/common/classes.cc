#include "classes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lasnet::cli {
std::string class_name(const Model& model, int64_t index) {
  return model.class_names.empty() ? std::to_string(index) : model.class_names[static_cast<size_t>(index)];
}

std::optional<int64_t> image_without_class(const Tensor& logits) {
  const auto is_finite = [](float logit) { return std::isfinite(logit); };
  const auto first = std::find_if_not(logits.data.begin(), logits.data.end(), is_finite);
  if (first == logits.data.end()) return std::nullopt;
  return (first - logits.data.begin()) / logits.shape.at(1);
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
