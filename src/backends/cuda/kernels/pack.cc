#include "backends/cuda/kernels/pack.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/float_formats.h"
#include "base/math.h"

namespace lasnet::cuda {
namespace {

/// The weights as a reduction sees them: [tap][element of the run][output channel].
class WeightView {
 public:
  WeightView(const Tensor& weight, const ConvLayout& layout)
      : weight_(weight),
        layout_(layout),
        out_(static_cast<int>(weight.shape[0])),
        group_in_(static_cast<int>(weight.shape[1])),
        kernel_(static_cast<int>(weight.shape[2])),
        group_out_(out_ / layout.groups) {}

  int taps() const { return layout_.merge_rows ? kernel_ : kernel_ * kernel_; }

  int run() const {
    if (layout_.merge_rows) return kernel_ * layout_.in_pitch;
    return reduction_run(group_in_ * layout_.groups, out_, layout_.groups);
  }

  float at(int tap, int element, int channel) const {
    if (channel >= out_) return 0;
    int input = element, kernel_tap = tap;
    if (layout_.merge_rows) {
      input = element % layout_.in_pitch;
      kernel_tap = tap * kernel_ + element / layout_.in_pitch;
    } else if (layout_.groups > 1) {
      int slice = channel / kSlice * kSlice;
      input = slice_input(slice, group_in_, group_out_) + element - channel / group_out_ * group_in_;
    }
    if (input < 0 || input >= group_in_) return 0;
    return weight_.data[(int64_t{channel} * group_in_ + input) * kernel_ * kernel_ + kernel_tap];
  }

 private:
  const Tensor& weight_;
  const ConvLayout& layout_;
  int out_, group_in_, kernel_, group_out_;
};

/// One step of one slice.
struct Step {
  const WeightView& view;
  int tap, first_element, run, channel;

  float at(int element, int column) const {
    int i = first_element + element;
    return i < run ? view.at(tap, i, channel + column) : 0.0f;
  }
};

void pack_fp32_step(const Step& step, std::vector<float>& values) {
  for (int k = 0; k < kStepBytes / 4; ++k) {
    for (int column = 0; column < kSlice; ++column) values.push_back(step.at(k, column));
  }
}

/// [half of the step][pair of 8-channel columns][lane][2 columns][2 words] of mma fragments (device_cuda.h).
void pack_fragment_step(const Step& step, int per_word, std::vector<float>& values) {
  for (int part = 0; part < 2; ++part) {
    for (int pair = 0; pair < 2; ++pair) {
      for (int lane = 0; lane < 32; ++lane) {
        for (int column = 0; column < 2; ++column) {
          for (int word = 0; word < 2; ++word) {
            for (int within = 0; within < per_word; ++within) {
              int k = (part * 8 + word * 4 + lane % 4) * per_word + within;
              values.push_back(step.at(k, pair * 16 + column * 8 + lane / 4));
            }
          }
        }
      }
    }
  }
}

float round_to_tf32(float value) {
  auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7f800000u) == 0x7f800000u) return value;
  return std::bit_cast<float>((bits + 0x1000u) & 0xffffe000u);
}

}  // namespace

int element_bytes(Precision precision) {
  return precision == Precision::fp16 || precision == Precision::bf16 ? 2 : 4;
}

int reduction_run(int in_channels, int out_channels, int groups) {
  if (groups == 1) return padded_channels(in_channels);
  int group_in = in_channels / groups, group_out = out_channels / groups, longest = 0;
  for (int channel = 0; channel < out_channels; channel += kSlice) {
    int last = std::min(channel + kSlice, out_channels) - 1;
    int end = padded_channels((last / group_out + 1) * group_in);
    longest = std::max(longest, end - slice_input(channel, group_in, group_out));
  }
  return longest;
}

int image_pitch(Precision precision, int channels, int stride) {
  int vector = 16 / element_bytes(precision);
  return vector == 8 && channels <= 4 && stride % 2 == 0 ? 4 : vector;
}

void append_elements(const std::vector<float>& values, Precision precision, std::vector<uint8_t>& bytes) {
  size_t size = element_bytes(precision), at = bytes.size();
  bytes.resize(at + values.size() * size);
  for (float value : values) {
    if (size == 2) {
      uint16_t half = precision == Precision::fp16 ? f32_to_f16(value) : f32_to_bf16(value);
      std::memcpy(&bytes[at], &half, size);
    } else {
      if (precision == Precision::tf32) value = round_to_tf32(value);
      std::memcpy(&bytes[at], &value, size);
    }
    at += size;
  }
}

PackedConv pack_conv(const Tensor& weight, const std::vector<float>& bias, const ConvLayout& layout,
                     Precision precision) {
  WeightView view(weight, layout);
  int slices = round_up(ceil_div(static_cast<int>(bias.size()), kSlice), kSliceMultiple);
  int step_elements = kStepBytes / element_bytes(precision);
  PackedConv packed;
  packed.taps = view.taps();
  packed.run = view.run();
  if (layout.groups > 1) {
    packed.group_in = static_cast<int>(weight.shape[1]);
    packed.group_out = static_cast<int>(weight.shape[0]) / layout.groups;
  }
  packed.bias = bias;
  packed.bias.resize(int64_t{slices} * kSlice);
  std::vector<float> values;
  for (int slice = 0; slice < slices; ++slice) {
    for (int tap = 0; tap < packed.taps; ++tap) {
      for (int first = 0; first < packed.run; first += step_elements) {
        Step step{view, tap, first, packed.run, slice * kSlice};
        values.clear();
        if (precision == Precision::fp32) {
          pack_fp32_step(step, values);
        } else {
          pack_fragment_step(step, 4 / element_bytes(precision), values);
        }
        append_elements(values, precision, packed.weights);
      }
    }
  }
  return packed;
}

std::vector<uint8_t> pack_hopper_weights(const Tensor& weight, Precision precision) {
  constexpr int kStepElements = kHopperStepBytes / 2, kVectorElements = 8, kVectors = kHopperStepBytes / 16;
  const ConvLayout layout;
  WeightView view(weight, layout);
  int channels = round_up(static_cast<int>(weight.shape[0]), 2 * kHopperBlock), run = view.run();
  std::vector<uint8_t> bytes;
  std::vector<float> values;
  for (int block = 0; block < channels; block += kHopperBlock) {
    for (int tap = 0; tap < view.taps(); ++tap) {
      for (int first = 0; first < run; first += kStepElements) {
        values.clear();
        for (int row = 0; row < kHopperBlock; ++row) {
          Step step{view, tap, first, run, block + row};
          for (int place = 0; place < kVectors; ++place) {
            for (int k = 0; k < kVectorElements; ++k)
              values.push_back(step.at((place ^ row % kVectors) * kVectorElements + k, 0));
          }
        }
        append_elements(values, precision, bytes);
      }
    }
  }
  return bytes;
}

}  // namespace lasnet::cuda
