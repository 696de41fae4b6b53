#include "backends/cuda/runner.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "backends/cuda/network.h"
#include "engine/check_finite.h"
#include "engine/trace.h"
#include "mask/active_lists.h"

namespace lasnet {
namespace {

/// Input sizes whose memory and graphs are kept.
constexpr size_t kKeptSizes = 4;

/// What the host makes: the list of the stem, whose image has a border of its own, and the number of images.
void send_fixed_lists(const CudaExecutable& executable, const CudaLayout& layout, cuda::Stream& stream) {
  const ConvSpec& conv = executable.stem().spec;
  int64_t border = conv.padding(), row_pixels = layout.image_row_pixels;
  int64_t image_pixels = (layout.input_size.height + 2 * border) * row_pixels;
  MapSize output{layout.stem.height, layout.stem.width};
  std::vector<int32_t> in, out, begin;
  for (int64_t n = 0; n < layout.images; ++n) {
    begin.push_back(static_cast<int32_t>(in.size()));
    for (int64_t y = 0; y < output.height; ++y) {
      for (int64_t x = 0; x < output.width; ++x) {
        in.push_back(static_cast<int32_t>(n * image_pixels + (y * conv.stride + border) * row_pixels +
                                          x * conv.stride + border));
        out.push_back(static_cast<int32_t>(bordered_index(output, n, y, x)));
      }
    }
  }
  begin.push_back(static_cast<int32_t>(in.size()));
  auto send = [&](int32_t* to, const std::vector<int32_t>& from) {
    stream.copy_to_device(to, from.data(), static_cast<int64_t>(from.size() * sizeof(int32_t)));
  };
  send(layout.stem_pixels.in, in);
  send(layout.stem_pixels.out, out);
  send(layout.stem_pixels.image_begin, begin);
  const std::vector<int32_t> images = {layout.images};
  send(layout.image_count, images);
  stream.synchronize();
}

/// Whether kernels are launched one by one instead of as a graph.
bool steps_one_by_one(const RunRequest& request) { return request.time_blocks || request.check_finite; }

/// Sums of the chunks of each image.
std::vector<int64_t> image_counts(const int32_t* chunks, int images, int per_image) {
  std::vector<int64_t> counts(images);
  for (int n = 0; n < images; ++n) {
    for (int i = 0; i < per_image; ++i) counts[n] += chunks[n * per_image + i];
  }
  return counts;
}

/// Throws Error about the first layer, in order, that left the finite numbers.
void report_not_finite(const CudaMemory& memory, const std::vector<CudaCheckedLayer>& layers) {
  const unsigned long long* found = memory.report().on_host(memory.layout().not_finite);
  for (size_t i = 0; i < layers.size(); ++i) {
    if (found[i] == ~0ull) continue;
    auto place = static_cast<int64_t>(found[i] / 2);
    float value = found[i] % 2 != 0 ? std::nanf("") : std::numeric_limits<float>::infinity();
    fail_not_finite(layers[i].name, value, layers[i].map, place / layers[i].channels,
                    place % layers[i].channels);
  }
}

}  // namespace

CudaRunner::CudaRunner(std::shared_ptr<const CudaExecutable> executable)
    : executable_(std::move(executable)),
      block_events_(executable_->blocks().size() + 1),
      before_masking_(executable_->blocks().size()),
      after_masking_(executable_->blocks().size()) {}

template <class Make>
auto CudaRunner::with_room(size_t kept, const Make& make) {
  while (true) {
    try {
      return make();
    } catch (const cuda::OutOfDeviceMemory&) {
      if (memories_.size() <= kept) throw;
      memories_.pop_back();  // the least recently used
    }
  }
}

CudaMemory& CudaRunner::memory_for(const RunRequest& request) {
  auto found = std::find_if(memories_.begin(), memories_.end(), [&](const Entry& entry) {
    return entry.images == request.batch() && entry.size == request.geometry.input;
  });
  if (found != memories_.end()) {
    std::rotate(memories_.begin(), found, found + 1);
    return *memories_.front().memory;
  }
  if (memories_.size() == kKeptSizes) memories_.pop_back();
  auto memory = with_room(
      0, [&] { return std::make_unique<CudaMemory>(*executable_, request.geometry, request.batch()); });
  send_fixed_lists(*executable_, memory->layout(), stream_);
  CudaNetwork(*executable_, *memory, stream_, side_).build_full_lists();
  stream_.synchronize();
  memories_.push_front({request.batch(), request.geometry.input, std::move(memory)});
  return *memories_.front().memory;
}

CudaMode CudaRunner::mode_of(const RunRequest& request, CudaMemory& memory) {
  CudaMode mode{.dense = request.dense};
  for (size_t i = 0; i < request.features.size(); ++i) {
    const Tensor* map = request.features[i];
    if (map == nullptr) continue;
    mode.feature_layout = request.feature_layout;
    mode.features[i] = with_room(1, [&] { return memory.feature(i, map->size()); });
  }
  return mode;
}

void CudaRunner::send_request(const RunRequest& request, CudaMemory& memory) {
  const CudaLayout& layout = memory.layout();
  const CudaMirror& mirror = memory.request();
  std::copy(request.input->data.begin(), request.input->data.end(), mirror.on_host(layout.input));
  for (size_t i = 0; i < layout.blocks.size(); ++i) {
    const CudaBlockMemory& block = layout.blocks[i];
    if (block.rule == nullptr) continue;
    const std::vector<uint8_t>& forced = request.forced_patches[i];
    *mirror.on_host(block.rule) = {.force = !forced.empty(), .threshold = request.thresholds[i]};
    std::copy(forced.begin(), forced.end(), mirror.on_host(block.forced));
  }
  stream_.copy_to_device(mirror.device.data(), mirror.host.data(), mirror.device.bytes());
}

const cuda::Graph& CudaRunner::graph_for(const CudaMode& mode, CudaMemory& memory) {
  cuda::Graph& graph = memory.graphs[mode];
  if (graph) return graph;
  stream_.begin_capture();
  try {
    CudaNetwork(*executable_, memory, stream_, side_).launch({.mode = mode});
  } catch (...) {
    stream_.abandon_capture();
    throw;
  }
  return graph = stream_.end_capture();
}

void CudaRunner::run(const RunRequest& request, Result& result) {
  request.check_stop();
  const cuda::DeviceScope device;
  CudaMemory& memory = memory_for(request);
  try {
    run_on(memory, request, result);
  } catch (...) {  // the branches may not have met again
    stream_.settle();
    side_.settle();
    throw;
  }
}

void CudaRunner::run_on(CudaMemory& memory, const RunRequest& request, Result& result) {
  CudaNetwork network(*executable_, memory, stream_, side_);
  const CudaMode mode = mode_of(request, memory);
  const cuda::Graph* graph = steps_one_by_one(request) ? nullptr : &graph_for(mode, memory);
  send_request(request, memory);
  begin_.record(stream_);
  if (graph != nullptr) {
    stream_.run(*graph);
  } else {
    network.launch({.mode = mode,
                    .check_finite = request.check_finite,
                    .before_block = [&](size_t i) { block_events_[i].record(stream_); },
                    .before_masking = [&](size_t i) { before_masking_[i].record(stream_); },
                    .after_masking = [&](size_t i) { after_masking_[i].record(stream_); }});
  }
  end_.record(stream_);
  const CudaMirror& report = memory.report();
  stream_.copy_to_host(report.host.data(), report.device.data(), report.device.bytes());
  copy_features(request, mode);
  stream_.synchronize();
  if (request.check_finite) report_not_finite(memory, network.checked_layers());
  read_report(request, memory, result);
}

void CudaRunner::copy_features(const RunRequest& request, const CudaMode& mode) {
  for (const auto& [blocks, place] : mode.features) {
    std::vector<float>& map = request.features[blocks]->data;
    stream_.copy_to_host(map.data(), place, static_cast<int64_t>(map.size() * sizeof(float)));
  }
}

void CudaRunner::read_report(const RunRequest& request, const CudaMemory& memory, Result& result) {
  const CudaLayout& layout = memory.layout();
  const CudaMirror& report = memory.report();
  TraceBuilder trace(executable_->spec(), request, result.trace);
  for (size_t i = 0; i < layout.blocks.size(); ++i) {
    const CudaBlockMemory& block = layout.blocks[i];
    const cuda::ListGeometry& g = block.geometry;
    BlockOutcome outcome;
    bool is_masked = !request.dense && executable_->spec().blocks[i].is_dynamic();
    if (steps_one_by_one(request)) {
      outcome.seconds = cuda::Event::seconds_between(block_events_[i], block_events_[i + 1]);
      if (is_masked)
        outcome.masking_seconds = cuda::Event::seconds_between(before_masking_[i], after_masking_[i]);
    }
    std::vector<int64_t> active, dilated;
    if (is_masked) {
      size_t patches = static_cast<size_t>(layout.images) * g.patches();
      outcome.patches = {report.on_host(block.patches), patches};
      outcome.differences = {report.on_host(block.differences), patches};
      active = image_counts(report.on_host(block.active_counts), layout.images,
                            cuda::chunks_per_image(g, cuda::ListKind::active));
      dilated = image_counts(report.on_host(block.dilated_counts), layout.images,
                             cuda::chunks_per_image(g, cuda::ListKind::dilated));
      outcome.active_counts = active;
      outcome.dilated_counts = dilated;
    }
    trace.add_block(outcome);
  }
  int64_t classes = executable_->spec().arch.classes;
  result.logits.shape = {request.batch(), classes};
  result.logits.data.resize(request.batch() * classes);
  for (int64_t n = 0; n < request.batch(); ++n) {
    std::copy_n(report.on_host(layout.logits) + n * layout.logits_pitch, classes,
                result.logits.data.data() + n * classes);
  }
  trace.finish(cuda::Event::seconds_between(begin_, end_));
}

}  // namespace lasnet
