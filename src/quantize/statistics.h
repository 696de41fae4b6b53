// What fp32 runs show of a network's maps: the ranges of their values, and the means of channels.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/check_finite.h"
#include "lasnet/quantize.h"
#include "quantize/histogram.h"

namespace lasnet {

/// Of a map that is 0 everywhere, and of weights that are.
inline constexpr float kAnyScale = 1;

/// The mean of each channel that a layer reads.
class ChannelMeans {
 public:
  void add(const float* pixel, int64_t channels) {
    sums_.resize(static_cast<size_t>(channels));
    for (int64_t c = 0; c < channels; ++c) sums_[c] += pixel[c];
    ++count_;
  }
  /// Zeros where nothing was read.
  std::vector<double> means(int64_t channels) const {
    std::vector<double> result(static_cast<size_t>(channels));
    for (size_t c = 0; c < sums_.size(); ++c) result[c] = sums_[c] / static_cast<double>(count_);
    return result;
  }

 private:
  std::vector<double> sums_;
  int64_t count_ = 0;
};

/// The maps of a network but its input.
class MapStatistics {
 public:
  explicit MapStatistics(const ModelSpec& spec);

  /// Of a layer's computed pixels; a projection's are no map. Throws Error on values that are not finite.
  void add(const LayerOutput& output);
  /// What a layer reads.
  void add_input(const std::string& layer, const LayerOutput& input);
  /// What the stem reads: [1, 3, H, W].
  void add_image(const std::string& stem, const Tensor& image);

  /// Maps that no run has computed a pixel of. From now on nothing but these counts.
  const std::set<std::string>& keep_to_missing();

  const std::map<std::string, ChannelMeans>& inputs() const { return inputs_; }
  std::map<std::string, MapQuantization> quantizations(QuantizationMethod method) const;
  /// Share of each map's values that it clips.
  std::map<std::string, double> clipped(const std::map<std::string, MapQuantization>& maps) const;

 private:
  std::map<std::string, std::string> map_of_;     ///< by layer
  std::map<std::string, std::string> reader_of_;  ///< of what a layer writes
  std::map<std::string, ChannelMeans> inputs_;    ///< by layer
  std::map<std::string, Histogram> histograms_;
  std::set<std::string> missing_;
  bool only_missing_ = false;
};

/// The network's input: all that preprocessing makes of pixels, and what was seen.
class InputRange {
 public:
  explicit InputRange(const Preprocessing& preprocessing);
  void add(float value);
  MapQuantization quantization() const;

 private:
  float low_ = 0, high_ = 0;
};

}  // namespace lasnet
