// The public face of the engine: checks a request, then hands it to a backend.
#include <algorithm>
#include <set>

#include "base/fail.h"
#include "base/memory.h"
#include "base/suggest.h"
#include "base/thread_pool.h"
#include "engine/check_finite.h"
#include "engine/executable.h"

namespace lasnet {
namespace {

constexpr int kMaxThreads = 1024;
constexpr int64_t kMaxBatch = (1 << 16) - 1;  // blocks of threads on a grid's second axis

void check_input(const TensorView& input) {
  const FewDimensions& shape = input.shape;
  if (shape.size() != 4 || shape[1] != 3 || shape[0] < 1 || shape[0] > kMaxBatch) {
    fail("input: shape {}; expected [N, 3, H, W] with N from 1 to {}", to_string(shape), kMaxBatch);
  }
  if (input.size() != element_count(shape)) {
    fail("input: {} values do not fill shape {}", input.size(), to_string(shape));
  }
}

void check_threads(int threads) {
  if (threads < 1 || threads > kMaxThreads) fail("{} threads; expected 1 to {}", threads, kMaxThreads);
}

/// Forced masks of the whole batch for one block as patch decisions.
std::vector<uint8_t> forced_patches(const std::string& name, const ByteTensor& mask,
                                    const BlockGeometry& geometry, int64_t batch) {
  Shape expected = {batch, geometry.output.height, geometry.output.width};
  if (mask.shape != expected) {
    fail("forced mask of {}: shape {}; expected {}", name, to_string(mask.shape), to_string(expected));
  }
  std::vector<uint8_t> patches;
  int64_t pixels = geometry.output.pixels();
  for (int64_t n = 0; n < batch; ++n) {
    try {
      std::vector<uint8_t> image =
          patches_of_mask(geometry.grid, std::span(mask.data).subspan(n * pixels, pixels));
      patches.insert(patches.end(), image.begin(), image.end());
    } catch (const Error& error) {
      fail("forced mask of {}, image {}: {}", name, n, error.what());
    }
  }
  return patches;
}

std::optional<NetworkSchedule> plan_of(const ModelSpec& spec, const SessionOptions& options) {
  if (!options.schedule) return std::nullopt;
  return uniform_schedule(spec, *options.schedule);
}

std::shared_ptr<Executor> start_threads(int threads) {
  check_threads(threads);
  return std::make_shared<ThreadPool>(threads);
}

/// A threshold of each block into `spread`, whose memory is used again.
void spread_thresholds(const std::vector<float>& given, size_t blocks, std::vector<float>& spread) {
  if (given.size() == blocks) {
    spread.assign(given.begin(), given.end());
  } else {
    spread.assign(blocks, given.empty() ? 0.0f : given.front());
  }
}

void check_mask_names(const ModelSpec& spec, const MaskSet& masks) {
  std::vector<std::string> dynamic;
  for (const BlockSpec& block : spec.blocks) {
    if (block.is_dynamic()) dynamic.push_back(block.name);
  }
  for (const auto& [name, mask] : masks) {
    if (std::find(dynamic.begin(), dynamic.end(), name) != dynamic.end()) continue;
    std::string near = nearest_name(name, dynamic);
    fail("forced mask '{}': {} has no dynamic block of this name{}", name, spec.arch.name,
         near.empty() ? "" : fmt::format("; the nearest is '{}'", near));
  }
}

/// Of a map in the layout that the request asks for. Takes no memory if `shape` has been one before.
void set_map_shape(const FeatureSpec& feature, const RunRequest& request, Shape& shape) {
  const NetworkGeometry& geometry = request.geometry;
  const MapSize map = feature.blocks == 0 ? geometry.trunk : geometry.blocks[feature.blocks - 1].output;
  if (request.feature_layout == MapLayout::nhwc) {
    shape = {request.batch(), map.height, map.width, feature.channels};
  } else {
    shape = {request.batch(), feature.channels, map.height, map.width};
  }
}

}  // namespace

struct Session::Impl {
  std::shared_ptr<const Executable> executable;
  int threads;
  std::unique_ptr<Runner> runner;
  RunRequest request = {};            ///< of the last run: its memory is used again
  std::vector<FeatureSpec> features;  ///< that the network has

  /// Makes room in `maps` for those that `options` names, for no others, and lets the request write there.
  void request_features(const RunOptions& options, FeatureMaps& maps);
};

void Session::Impl::request_features(const RunOptions& options, FeatureMaps& maps) {
  for (const std::string& name : options.features) find_feature(features, name);
  request.feature_layout = options.feature_layout;
  request.features.assign(executable->spec().blocks.size() + 1, nullptr);
  std::erase_if(maps, [&](const auto& entry) {
    return std::ranges::find(options.features, entry.first) == options.features.end();
  });
  int64_t new_floats = 0;
  for (const std::string& name : options.features) {
    const FeatureSpec& feature = find_feature(features, name);
    Tensor& map = maps[name];
    set_map_shape(feature, request, map.shape);
    request.features[feature.blocks] = &map;
    const int64_t floats = element_count(map.shape);
    if (floats > static_cast<int64_t>(map.data.capacity())) new_floats += floats;
  }
  if (new_floats > 0) {
    require_memory(new_floats * static_cast<int64_t>(sizeof(float)),
                   fmt::format("the features of {} images", request.batch()),
                   "use fewer of them, a smaller batch or smaller images");
  }
  for (Tensor* map : request.features) {
    if (map != nullptr) map->data.resize(static_cast<size_t>(element_count(map->shape)));
  }
}

Session::Session(const Model& model, const SessionOptions& options)
    : Session(make_executable(model, options.backend, options.isa, plan_of(model.spec, options),
                              options.precision),
              options.executor ? options.executor : start_threads(options.threads)) {}
Session::Session(std::shared_ptr<const Executable> executable, int threads)
    : Session(std::move(executable), start_threads(threads)) {}
Session::Session(std::shared_ptr<const Executable> executable, std::shared_ptr<Executor> executor) {
  if (!executable || !executor) fail("session: the executable or executor is null");
  int threads = executor->threads();
  check_threads(threads);
  std::unique_ptr<Runner> runner = executable->make_runner(std::move(executor));
  std::vector<FeatureSpec> features = feature_specs(executable->spec());
  impl_ = std::make_unique<Impl>(
      Impl{std::move(executable), threads, std::move(runner), {}, std::move(features)});
}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result Session::run(const TensorView& input, const RunOptions& options) {
  Result result;
  run(input, options, result);
  return result;
}

void Session::run(const TensorView& input, const RunOptions& options, Result& result) {
  check_input(input);
  RunRequest& request = impl_->request;
  MapSize size{input.shape[2], input.shape[3]};
  if (!(request.geometry.input == size)) {
    request.geometry = network_geometry(spec(), size);
    request.macs.clear();
    for (size_t i = 0; i < spec().blocks.size(); ++i) {
      request.macs.push_back(block_macs(spec().blocks[i], request.geometry.blocks[i]));
    }
  }
  request.input = &input;
  request.dense = options.dense;
  request.record_masks = options.record_masks;
  request.check_finite = options.check_finite;
  request.time = options.thread_time ? TimeSource::thread : TimeSource::wall;
  request.time_blocks = options.time_blocks;
  request.time_operations = options.time_operations;
  request.stop = options.stop;
  check_thresholds(options.thresholds, spec());
  spread_thresholds(options.thresholds, spec().blocks.size(), request.thresholds);
  request.forced_patches.resize(spec().blocks.size());
  for (std::vector<uint8_t>& patches : request.forced_patches) patches.clear();
  if (options.force_masks != nullptr) {
    check_mask_names(spec(), *options.force_masks);
    for (size_t i = 0; i < spec().blocks.size(); ++i) {
      auto found = options.force_masks->find(spec().blocks[i].name);
      if (found == options.force_masks->end()) continue;
      request.forced_patches[i] =
          forced_patches(found->first, found->second, request.geometry.blocks[i], request.batch());
    }
  }
  if (options.check_finite || options.check_input) check_finite_input(input);
  impl_->request_features(options, result.features);
  impl_->runner->run(request, result);
}

void Session::check_memory(MapSize size, int64_t batch) const {
  const int64_t input_bytes = element_count({batch, 3, size.height, size.width, sizeof(float)});
  const int64_t run_bytes = executable()->run_bytes(network_geometry(spec(), size), batch);
  require_memory(run_bytes + input_bytes,
                 fmt::format("a batch of {} images of {} x {} px", batch, size.height, size.width),
                 "use a smaller batch or smaller images");
}

std::shared_ptr<const Executable> Session::executable() const { return impl_->executable; }
Backend Session::backend() const { return impl_->executable->backend(); }
Isa Session::isa() const { return impl_->executable->isa(); }
Precision Session::precision() const { return impl_->executable->precision(); }
int Session::threads() const { return impl_->threads; }
const ModelSpec& Session::spec() const { return impl_->executable->spec(); }

}  // namespace lasnet
