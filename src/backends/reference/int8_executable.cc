// The masked dense network in integers, as plain loops: the exact oracle of Precision::int8. It computes
// everything, then selects by the mask.
#include <algorithm>
#include <cmath>

#include "backends/reference/int8_kernels.h"
#include "backends/reference/kernels.h"
#include "backends/reference/mask.h"
#include "base/stopwatch.h"
#include "engine/executable.h"
#include "engine/int8_network.h"
#include "engine/trace.h"

namespace lasnet {
namespace {

using namespace reference::int8;

class Int8ReferenceExecutable final : public Executable {
 public:
  explicit Int8ReferenceExecutable(const Model& model)
      : Executable(model.spec, Backend::reference, Isa::scalar, Precision::int8),
        network_(make_int8_network(model)) {}

  std::unique_ptr<Runner> make_runner(std::shared_ptr<Executor> executor) const override;
  const Int8Network& network() const { return network_; }

 private:
  Int8Network network_;
};

std::vector<float> differences_of(const ByteTensor& x, const Int8Masker& masker, const PatchGrid& grid,
                                  int stride) {
  std::vector<float> differences;
  for (int64_t n = 0; n < x.shape[0]; ++n) {
    for (int64_t row = 0; row < grid.rows(); ++row) {
      for (int64_t col = 0; col < grid.cols(); ++col) {
        const PixelRect window = patch_window(grid, row, col, stride, {x.shape[1], x.shape[2]});
        int64_t dot = 0;
        for (int64_t c = 0; c < x.shape[3]; ++c) dot += sum_of(x, n, window, c) * masker.weight[c];
        differences.push_back(masker.difference(dot, window.pixels()));
      }
    }
  }
  return differences;
}

/// One block of one run.
struct Int8ReferenceBlock {
  const Int8Block& block;
  const BlockSpec& spec;
  const RunRequest& request;
  size_t index;

  std::vector<float> differences = {};
  reference::BlockMask mask = {};

  ByteTensor run(const ByteTensor& x) {
    mask = reference::full_mask(request, index);
    if (!request.dense && block.masker) {
      differences = differences_of(x, *block.masker, request.geometry.blocks[index].grid, spec.stride);
      mask = reference::decide_mask(request, index, differences);
    }
    ByteTensor body = x;
    for (size_t i = 0; i + 1 < block.convs.size(); ++i) {
      body = relu_layer(body, block.convs[i]);
      if (i == 1 && block.squeeze_excite) squeeze_excite(body);
    }
    const Sums sums = conv_sums(body, block.convs.back());
    return block.projection ? projected(x, sums) : in_place(x, sums);
  }

 private:
  /// Of images with an active pixel; the others' bodies are masked.
  void squeeze_excite(ByteTensor& z) const {
    const int64_t batch = z.shape[0], pixels = z.shape[1] * z.shape[2], channels = z.shape[3];
    for (int64_t n = 0; n < batch; ++n) {
      std::vector<int64_t> sums(static_cast<size_t>(channels));
      int64_t pooled = 0;
      for (int64_t p = n * pixels; p < (n + 1) * pixels; ++p) {
        if (block.squeeze_excite->pool == SePool::active && mask.mask.data[p] == 0) continue;
        ++pooled;
        for (int64_t c = 0; c < channels; ++c) sums[c] += z.data[p * channels + c];
      }
      if (pooled == 0) continue;
      ExcitationVectors vectors;
      for (const int64_t sum : sums) vectors.mean.push_back(block.squeeze_excite->mean(sum, pooled));
      block.squeeze_excite->excite(vectors);
      for (int64_t i = n * pixels * channels; i < (n + 1) * pixels * channels; ++i)
        z.data[i] = excited_byte(z.data[i], vectors.factors[i % channels]);
    }
  }

  ByteTensor in_place(ByteTensor y, const Sums& sums) const {
    const Int8Layer& last = block.convs.back();
    for (int64_t i = 0; i < y.size(); ++i) {
      const int64_t c = i % spec.out_channels;
      if (mask.mask.data[i / spec.out_channels] == 0) continue;
      y.data[i] = to_byte(scaled(sums.data[i], last.multiplier[c], last.bias[c]) + y.data[i]);
    }
    return y;
  }

  ByteTensor projected(const ByteTensor& x, const Sums& body) const {
    const Int8Layer &projection = *block.projection, &last = block.convs.back();
    const Sums identity = conv_sums(x, projection);
    ByteTensor y(identity.shape);
    for (int64_t i = 0; i < y.size(); ++i) {
      const int64_t c = i % spec.out_channels;
      const bool active = mask.mask.data[i / spec.out_channels] != 0;
      const int32_t sum = identity.data[i] + (active ? body.data[i] : 0);
      const float bias = active ? projection.bias[c] + last.bias[c] : projection.bias[c];
      y.data[i] = to_byte(scaled(sum, projection.multiplier[c], bias));
    }
    return y;
  }
};

class Int8ReferenceRunner final : public Runner {
 public:
  explicit Int8ReferenceRunner(std::shared_ptr<const Int8ReferenceExecutable> executable)
      : executable_(std::move(executable)) {}

  void run(const RunRequest& request, Result& result) override {
    Stopwatch watch(request.time);
    const ModelSpec& spec = executable_->spec();
    const Int8Network& network = executable_->network();
    check_summed_pixels(spec, request.geometry);
    TraceBuilder trace(spec, request, result.trace);
    ByteTensor x = relu_layer(image_bytes(request), network.stem, static_cast<uint8_t>(network.input_zero));
    if (spec.stem_pool) x = max_pool(x);
    for (size_t i = 0; i < spec.blocks.size(); ++i) {
      return_map(x, i, request);
      request.check_stop();
      Stopwatch block_watch(request.time);
      Int8ReferenceBlock block{network.blocks[i], spec.blocks[i], request, i};
      x = block.run(x);
      trace.add_block({.patches = block.mask.patches,
                       .differences = block.differences,
                       .active_counts = block.mask.active_counts,
                       .dilated_counts = block.mask.dilated_counts,
                       .seconds = block_watch.seconds()});
    }
    return_map(x, spec.blocks.size(), request);
    result.logits = run_head(x);
    trace.finish(watch.seconds());
  }

 private:
  ByteTensor image_bytes(const RunRequest& request) const {
    const Int8Network& network = executable_->network();
    const Tensor image = reference::nchw_to_nhwc(*request.input);
    ByteTensor bytes(image.shape);
    std::ranges::transform(image.data, bytes.data.begin(), [&](float value) {
      return input_byte(value, network.input_inverse_scale, network.input_zero);
    });
    return bytes;
  }

  Tensor run_head(const ByteTensor& x) const {
    const std::optional<Int8Layer>& head = executable_->network().head;
    const int64_t batch = x.shape[0], channels = x.shape[3];
    if (!head) return Tensor({batch, 0});
    const int64_t classes = head->spec.out_channels;
    Tensor logits({batch, classes});
    for (int64_t n = 0; n < batch; ++n) {
      for (int64_t o = 0; o < classes; ++o) {
        int64_t sum = 0;
        for (int64_t c = 0; c < channels; ++c) {
          const int64_t pooled = sum_of(x, n, {0, 0, x.shape[1], x.shape[2]}, c);
          sum += int64_t{head_input(pooled, x.shape[1] * x.shape[2])} * head->weight.data[o * channels + c];
        }
        logits.data[n * classes + o] = head_logit(sum, head->multiplier[o], head->bias[o]);
      }
    }
    return logits;
  }

  void return_map(const ByteTensor& x, size_t blocks, const RunRequest& request) const {
    Tensor* to = request.feature(blocks);
    if (to == nullptr) return;
    Tensor map(x.shape);
    const float scale = executable_->network().map_scales[blocks];
    std::ranges::transform(x.data, map.data.begin(),
                           [scale](uint8_t byte) { return scale * static_cast<float>(byte); });
    *to = request.feature_layout == MapLayout::nchw ? reference::nhwc_to_nchw(map) : map;
  }

  std::shared_ptr<const Int8ReferenceExecutable> executable_;
};

std::unique_ptr<Runner> Int8ReferenceExecutable::make_runner(std::shared_ptr<Executor>) const {
  return std::make_unique<Int8ReferenceRunner>(
      std::static_pointer_cast<const Int8ReferenceExecutable>(shared_from_this()));
}

}  // namespace

std::shared_ptr<const Executable> make_int8_reference_executable(const Model& model) {
  return std::make_shared<Int8ReferenceExecutable>(model);
}

}  // namespace lasnet
