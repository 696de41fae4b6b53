#include "backends/cuda/executable.h"

#include <algorithm>
#include <cstring>

#include "backends/cuda/runner.h"
#include "base/fail.h"
#include "base/math.h"

namespace lasnet {
namespace {

constexpr int64_t kAlignment = 256;

/// Padded as the maps' pixels are.
std::vector<float> padded_to_pitch(std::vector<float> values) {
  values.resize(cuda::padded_channels(static_cast<int>(values.size())));
  return values;
}

}  // namespace

int64_t CudaWeights::add(const std::vector<uint8_t>& bytes) {
  auto offset = static_cast<int64_t>(staged_.size());
  staged_.insert(staged_.end(), bytes.begin(), bytes.end());
  staged_.resize(round_up(staged_.size(), kAlignment));
  return offset;
}

int64_t CudaWeights::add(const std::vector<float>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return add(bytes);
}

void CudaWeights::upload() {
  auto size = static_cast<int64_t>(staged_.size());
  memory_ = cuda::DeviceBuffer(size, "this network's weights");
  memory_.upload(staged_.data(), size);
  staged_ = {};
}

CudaExecutable::CudaExecutable(const Model& model, Precision precision,
                               const std::optional<NetworkSchedule>& plan, const cuda::DeviceLimits& device,
                               const DeviceCalibration& calibration)
    : Executable(model.spec, Backend::cuda, Isa::scalar, precision),
      plan_(plan),
      profile_(calibration.profile_of(device.name)),
      choose_plan_(calibration.choose_schedule),
      target_{
          precision, device.multiprocessors,
          usable_tile_costs(profile_ ? cuda_of(*profile_).tiles : shipped_tile_costs(), device.runs_hopper)} {
  const ModelSpec& spec = model.spec;
  stem_ = add_conv(spec.stem, fold(spec.stem, model.weights), precision, true);
  for (const BlockSpec& block : spec.blocks) blocks_.push_back(add_block(block, model.weights));
  head_ = add_head(spec, model.weights);
  weights_.upload();
}

std::optional<NetworkSchedule> CudaExecutable::chosen_plan(MapSize size, int64_t images) const {
  if (plan_ || !profile_) return plan_;
  return choose_plan_(spec(), *profile_, precision(), size, images);
}

NetworkSchedule CudaExecutable::plan_for(const NetworkGeometry& geometry, int64_t images) const {
  const std::optional<NetworkSchedule> chosen = chosen_plan(geometry.input, images);
  NetworkSchedule plan;
  for (size_t b = 0; b < spec().blocks.size(); ++b) {
    const BlockSpec& block = spec().blocks[b];
    plan.blocks.push_back(chosen ? feasible_cuda_schedule(block, chosen->blocks[b])
                                 : usual_cuda_schedule(block, geometry.blocks[b], images, target_));
  }
  return plan;
}

CudaHead CudaExecutable::add_head(const ModelSpec& spec, const Weights& weights) {
  if (!spec.has_head()) return {};
  const Tensor& weight = weights.at(spec.head_name + ".weight");
  CudaHead head{.pitch = cuda::padded_channels(spec.features)};
  std::vector<float> padded(int64_t{spec.arch.classes} * head.pitch);
  for (int64_t o = 0; o < spec.arch.classes; ++o) {
    std::copy_n(weight.data.begin() + o * spec.features, spec.features, padded.begin() + o * head.pitch);
  }
  head.weight = weights_.add(padded);
  head.bias = weights_.add(weights.at(spec.head_name + ".bias").data);
  return head;
}

CudaConv CudaExecutable::add_conv(const ConvSpec& spec, const FoldedConv& folded, Precision precision,
                                  bool merge_rows) {
  cuda::ConvLayout layout{spec.groups,
                          merge_rows ? cuda::image_pitch(precision, spec.in_channels, spec.stride)
                                     : cuda::padded_channels(spec.in_channels),
                          merge_rows};
  cuda::PackedConv packed = cuda::pack_conv(folded.weight, folded.bias, layout, precision);
  int64_t hopper_weights = -1;
  if (cuda_conv_work(spec, false, target_).for_warpgroups)
    hopper_weights = weights_.add(cuda::pack_hopper_weights(folded.weight, precision));
  return {spec,
          precision,
          merge_rows,
          packed.taps,
          packed.run,
          packed.group_in,
          packed.group_out,
          weights_.add(packed.weights),
          weights_.add(packed.bias),
          hopper_weights};
}

CudaBlock CudaExecutable::add_block(const BlockSpec& block, const Weights& weights) {
  CudaBlock compiled;
  for (const ConvSpec& conv : block.convs) {
    compiled.convs.push_back(add_conv(conv, fold(conv, weights), precision(), false));
  }
  if (block.projection) {
    compiled.projection = add_conv(*block.projection, fold(*block.projection, weights), precision(), false);
  }
  if (block.squeeze_excite) {
    auto add = [&](const char* name) {
      return weights_.add(weights.at(block.squeeze_excite->name + name).data);
    };
    compiled.squeeze_excite = {*block.squeeze_excite, add(".fc1.weight"), add(".fc1.bias"),
                               add(".fc2.weight"), add(".fc2.bias")};
  }
  if (block.is_dynamic()) {
    FoldedMasker masker = fold_masker(block, weights);
    compiled.masker_weight = weights_.add(padded_to_pitch(masker.weight));
    compiled.masker_bias = masker.bias;
  }
  return compiled;
}

std::unique_ptr<Runner> CudaExecutable::make_runner(std::shared_ptr<Executor>) const {
  const cuda::DeviceScope device;
  return std::make_unique<CudaRunner>(std::static_pointer_cast<const CudaExecutable>(shared_from_this()));
}

std::shared_ptr<const Executable> make_cuda_executable(const Model& model, Precision precision,
                                                       const std::optional<NetworkSchedule>& plan,
                                                       const DeviceCalibration& calibration) {
  if (model.spec.arch.dilated_stages > 0) {
    fail("cuda backend: {} has {} dilated stages, which its kernels do not compute; use the cpu backend",
         model.spec.arch.name, model.spec.arch.dilated_stages);
  }
  const cuda::DeviceScope scope;
  const cuda::DeviceLimits device = cuda::require_device(precision);
  return std::make_shared<CudaExecutable>(model, precision, plan, device, calibration);
}

}  // namespace lasnet
