#include "object_auc.h"

#include <cmath>
#include <limits>

#include "base/statistics.h"

namespace lasnet::cli {

ObjectAuc::ObjectAuc(int blocks) {
  pooled_.object.resize(static_cast<size_t>(blocks) + 1);
  pooled_.background = pooled_.object;
}

void ObjectAuc::add(const std::vector<float>& density, const std::vector<uint8_t>& object) {
  const size_t levels = pooled_.object.size();
  Histogram image{std::vector<int64_t>(levels), std::vector<int64_t>(levels)};
  for (size_t i = 0; i < density.size(); ++i) {
    const auto count = static_cast<size_t>(std::lround(density[i] * static_cast<float>(levels - 1)));
    ++(object[i] != 0 ? image.object : image.background)[count];
  }
  for (size_t level = 0; level < levels; ++level) {
    pooled_.object[level] += image.object[level];
    pooled_.background[level] += image.background[level];
  }
  if (const double auc = image.auc(); !std::isnan(auc)) images_.push_back(auc);
}

double ObjectAuc::pooled() const { return pooled_.auc(); }

double ObjectAuc::mean_per_image() const {
  return images_.empty() ? std::numeric_limits<double>::quiet_NaN() : mean(images_);
}

double ObjectAuc::Histogram::auc() const {
  double wins = 0, below = 0, objects = 0;
  for (size_t level = 0; level < object.size(); ++level) {
    wins += static_cast<double>(object[level]) * (below + 0.5 * static_cast<double>(background[level]));
    below += static_cast<double>(background[level]);
    objects += static_cast<double>(object[level]);
  }
  return objects > 0 && below > 0 ? wins / (objects * below) : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace lasnet::cli
