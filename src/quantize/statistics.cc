#include "quantize/statistics.h"

#include <algorithm>
#include <cmath>

namespace lasnet {
namespace {

constexpr int kLargestByte = 255;

double largest(const Histogram& histogram, QuantizationMethod method) {
  if (method == QuantizationMethod::percentile) return histogram.percentile(kQuantizationPercentile);
  if (method == QuantizationMethod::mse) return histogram.least_error(kLargestByte);
  return histogram.largest();
}

/// Half a step above the largest byte still rounds to it.
double share_beyond_bytes(const Histogram& histogram, float scale) {
  return histogram.share_above((kLargestByte + 0.5) * double{scale});
}

MapQuantization quantization(const Histogram& histogram, QuantizationMethod method) {
  double most = largest(histogram, method);
  if (most <= 0) most = histogram.largest();
  const auto scale = static_cast<float>(most / kLargestByte);
  if (!std::isnormal(scale)) return {.scale = kAnyScale};
  return {.scale = scale, .clipped = share_beyond_bytes(histogram, scale)};
}

}  // namespace

MapStatistics::MapStatistics(const ModelSpec& spec) {
  const QuantizedMaps maps = quantized_maps(spec);
  map_of_[spec.stem.name] = maps.residual.front();
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const std::vector<ConvSpec>& convs = spec.blocks[b].convs;
    for (size_t i = 0; i + 1 < convs.size(); ++i) {
      map_of_[convs[i].name] = maps.inner[b][i];
      reader_of_[convs[i].name] = convs[i + 1].name;
    }
    map_of_[convs.back().name] = maps.residual[b + 1];
    if (maps.excited[b].empty()) continue;
    map_of_[maps.excited[b]] = maps.excited[b];
    reader_of_.erase(convs[convs.size() - 2].name);
    reader_of_[maps.excited[b]] = convs.back().name;
  }
  for (const auto& [layer, map] : map_of_) histograms_[map];
}

void MapStatistics::add(const LayerOutput& output) {
  const auto map = map_of_.find(output.layer);
  if (map == map_of_.end()) return;
  Histogram& histogram = histograms_.at(map->second);
  if (only_missing_ && !missing_.contains(map->second)) return;
  check_finite(output);
  for (int64_t p = 0; p < output.pixels.count; ++p) {
    const float* pixel = output.data + output.pixels.out[p] * output.pitch;
    histogram.add({pixel, static_cast<size_t>(output.channels)});
  }
  const auto reader = reader_of_.find(output.layer);
  if (reader != reader_of_.end()) add_input(reader->second, output);
}

void MapStatistics::add_input(const std::string& layer, const LayerOutput& input) {
  ChannelMeans& means = inputs_[layer];
  for (int64_t p = 0; p < input.pixels.count; ++p)
    means.add(input.data + input.pixels.out[p] * input.pitch, input.channels);
}

void MapStatistics::add_image(const std::string& stem, const Tensor& image) {
  ChannelMeans& means = inputs_[stem];
  const int64_t plane = image.size() / 3;
  for (int64_t p = 0; p < plane; ++p) {
    const float pixel[] = {image.data[p], image.data[plane + p], image.data[2 * plane + p]};
    means.add(pixel, 3);
  }
}

const std::set<std::string>& MapStatistics::keep_to_missing() {
  only_missing_ = true;
  for (const auto& [name, histogram] : histograms_) {
    if (histogram.count() == 0) missing_.insert(name);
  }
  return missing_;
}

std::map<std::string, double> MapStatistics::clipped(
    const std::map<std::string, MapQuantization>& maps) const {
  std::map<std::string, double> shares;
  for (const auto& [name, histogram] : histograms_)
    shares[name] = share_beyond_bytes(histogram, maps.at(name).scale);
  return shares;
}

std::map<std::string, MapQuantization> MapStatistics::quantizations(QuantizationMethod method) const {
  std::map<std::string, MapQuantization> maps;
  for (const auto& [name, histogram] : histograms_) maps[name] = quantization(histogram, method);
  return maps;
}

InputRange::InputRange(const Preprocessing& preprocessing) {
  for (size_t c = 0; c < preprocessing.mean.size(); ++c) {
    add((0 - preprocessing.mean[c]) / preprocessing.std[c]);
    add((1 - preprocessing.mean[c]) / preprocessing.std[c]);
  }
}

void InputRange::add(float value) {
  low_ = std::min(low_, value);
  high_ = std::max(high_, value);
}

MapQuantization InputRange::quantization() const {
  const float scale = (high_ - low_) / kLargestByte;
  return {.scale = scale, .zero = static_cast<int>(std::lround(-low_ / scale))};
}

}  // namespace lasnet
