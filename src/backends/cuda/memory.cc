#include "backends/cuda/memory.h"

#include <algorithm>
#include <limits>

#include "base/fail.h"
#include "mask/active_lists.h"
#include "mask/tap_offsets.h"

namespace lasnet {
namespace {

using cuda::DeviceList;
using cuda::DeviceMap;
using cuda::ListGeometry;
using cuda::ListKind;

int narrow(int64_t value) { return static_cast<int>(value); }

ListGeometry list_geometry(const BlockSpec& block, const BlockGeometry& geometry, int64_t images) {
  PatchGrid grid = geometry.grid;
  if (!block.is_dynamic()) grid.granularity = narrow(std::max(geometry.output.height, geometry.output.width));
  return {.images = narrow(images),
          .input_height = narrow(geometry.input.height),
          .input_width = narrow(geometry.input.width),
          .middle_height = narrow(geometry.middle.height),
          .middle_width = narrow(geometry.middle.width),
          .output_height = narrow(geometry.output.height),
          .output_width = narrow(geometry.output.width),
          .stride = block.stride,
          .dilation_stride = geometry.dilation_stride,
          .granularity = grid.granularity,
          .patch_rows = narrow(grid.rows()),
          .patch_cols = narrow(grid.cols())};
}

}  // namespace

CudaMirror::CudaMirror(int64_t bytes) {
  if (bytes == 0) return;
  device = cuda::DeviceBuffer(bytes, "what travels between host and device");
  host = cuda::PinnedBuffer(bytes);
}

/// Lays out a CudaLayout over three regions.
class CudaLayoutBuilder {
 public:
  /// `program`: the sparse one, which needs all that the dense one does.
  CudaLayoutBuilder(const CudaExecutable& executable, const NetworkGeometry& geometry, int64_t images,
                    const cuda::NetworkProgram& program, CudaMemory::Arenas& arenas)
      : executable_(executable), geometry_(geometry), images_(images), program_(program), arenas_(arenas) {}

  CudaLayout build() {
    layout_.images = narrow(images_);
    layout_.input_size = geometry_.input;
    plan_stem();
    DeviceMap x = layout_.trunk;
    for (size_t i = 0; i < geometry_.blocks.size(); ++i) {
      plan_block(i, x);
      x = layout_.blocks.back().y;
    }
    plan_gathers();
    plan_head(x);
    layout_.not_finite = arenas_.report.take<unsigned long long>(layout_.checked_layers);
    return std::move(layout_);
  }

 private:
  int64_t element_bytes() const { return cuda::element_bytes(executable_.precision()); }

  DeviceMap new_map(MapSize size, int channels) {
    int pitch = cuda::padded_channels(channels);
    auto* data = arenas_.work.take<uint8_t>(bordered_pixels(size, images_) * pitch * element_bytes());
    return {data, pitch, narrow(size.height), narrow(size.width), channels};
  }

  DeviceMap scratch_map(size_t role, MapSize size, int channels) {
    auto [entry, is_new] = maps_.try_emplace({role, size.height, size.width, channels});
    if (is_new) entry->second = new_map(size, channels);
    return entry->second;
  }

  DeviceList new_list(int64_t capacity) {
    return {arenas_.work.take<int32_t>(capacity), arenas_.work.take<int32_t>(capacity),
            arenas_.work.take<int32_t>(images_ + 1)};
  }

  void add_list(const ListGeometry& g, ListKind kind, CudaLists& lists) {
    lists[kind] = {.kind = kind,
                   .list = new_list(images_ * cuda::domain_height(g, kind) * cuda::domain_width(g, kind)),
                   .progress = kind == ListKind::projected ? cuda::ListProgress{} : new_progress(g, kind)};
  }

  /// For blocks of any granularity, but for patches. `with_result`: the second convolution lists more than
  /// the mask says, so that the outputs of its list are not those of the mask.
  CudaLists new_lists(const ListGeometry& g, bool with_result) {
    CudaLists lists;
    add_list(g, ListKind::dilated, lists);
    add_list(g, ListKind::active, lists);
    const DeviceList& active = lists[ListKind::active].list;
    lists[ListKind::result].list = {active.out, active.out, active.image_begin};
    if (with_result) add_list(g, ListKind::result, lists);
    add_list(g, ListKind::projected, lists);
    return lists;
  }

  /// A list of as many patches as a grid over the map can have.
  void add_patches(ListGeometry g, CudaLists& lists) {
    g.patch_rows = g.output_height, g.patch_cols = g.output_width;
    add_list(g, ListKind::patches, lists);
  }

  cuda::ListProgress new_progress(const ListGeometry& g, ListKind kind) {
    return {arenas_.work.take<unsigned long long>(images_ * cuda::chunks_per_image(g, kind)),
            arenas_.work.take<unsigned long long>(1)};
  }

  void plan_stem() {
    const ConvSpec& conv = executable_.stem().spec;
    int64_t border = conv.padding(), height = geometry_.input.height, width = geometry_.input.width;
    layout_.image_pitch = cuda::image_pitch(executable_.precision(), conv.in_channels, conv.stride);
    // Rows start at 16 bytes.
    layout_.image_row_pixels = narrow((width + 2 * border + 1) / 2 * 2);
    int64_t pixels = (height + 2 * border) * layout_.image_row_pixels;
    if (images_ * std::max(pixels, bordered_pixels(geometry_.stem, 1)) >
        std::numeric_limits<int32_t>::max()) {
      fail("a batch of {} images of {} x {} exceeds 2^31 pixels; use a smaller batch", images_, height,
           width);
    }
    layout_.input = arenas_.request.take<float>(images_ * conv.in_channels * height * width);
    // The last window's last 16 bytes may reach beyond its pixels.
    layout_.image = arenas_.work.take<uint8_t>(images_ * pixels * layout_.image_pitch * element_bytes() + 16);
    layout_.stem = new_map(geometry_.stem, conv.out_channels);
    layout_.trunk = executable_.spec().stem_pool ? new_map(geometry_.trunk, conv.out_channels) : layout_.stem;
    layout_.stem_pixels = new_list(images_ * geometry_.stem.pixels());
    layout_.checked_layers += 1;
  }

  void plan_block(size_t index, const DeviceMap& x) {
    const BlockSpec& spec = executable_.spec().blocks[index];
    const BlockGeometry& geometry = geometry_.blocks[index];
    CudaBlockMemory block;
    block.geometry = list_geometry(spec, geometry, images_);
    block.x = x;
    block.y = spec.projection ? new_map(geometry.output, spec.out_channels) : x;
    for (size_t i = 0; i + 1 < spec.convs.size(); ++i) {
      MapSize size = i == 0 ? geometry.middle : geometry.output;
      block.inner.push_back(scratch_map(i, size, spec.convs[i].out_channels));
    }
    auto [entry, is_new] = lists_.try_emplace({geometry.input.height, geometry.input.width,
                                               geometry.middle.height, geometry.middle.width, spec.stride});
    if (is_new) {
      auto& [everything, current] = entry->second;
      everything = new_lists(block.geometry, spec.pools_densely());
      current = new_lists(block.geometry, spec.pools_densely());
      add_patches(block.geometry, current);
    }
    std::tie(block.everything, block.current) = entry->second;
    if (spec.is_dynamic()) plan_masks(block);
    if (spec.squeeze_excite) {
      int64_t size = images_ * cuda::padded_channels(spec.squeeze_excite->channels);
      block.pooled = arenas_.work.take<float>(size);
      block.scale = arenas_.work.take<float>(size);
    }
    plan_schedule(index, block);
    layout_.checked_layers += narrow(static_cast<int64_t>(spec.convs.size())) + 2;
    layout_.blocks.push_back(std::move(block));
  }

  void plan_masks(CudaBlockMemory& block) {
    const ListGeometry& g = block.geometry;
    int64_t patches = images_ * g.patches();
    block.rule = arenas_.request.take<cuda::DecisionRule>(1);
    block.forced = arenas_.request.take<uint8_t>(patches);
    block.differences = arenas_.report.take<float>(patches);
    block.patches = arenas_.report.take<uint8_t>(patches);
    block.dilated_counts =
        arenas_.report.take<int32_t>(images_ * cuda::chunks_per_image(g, ListKind::dilated));
    block.active_counts = arenas_.report.take<int32_t>(images_ * cuda::chunks_per_image(g, ListKind::active));
    block.current[ListKind::dilated].mask_counts = block.dilated_counts;
    block.current[ListKind::active].mask_counts = block.active_counts;
  }

  /// Buffers that only unusual schedules need; all blocks share each.
  void plan_schedule(size_t index, CudaBlockMemory& block) {
    const ListGeometry& g = block.geometry;
    if (program_.blocks[index].runs(cuda::OperationKind::gather_patches)) {
      int64_t side = halo_side(g.granularity, g.dilation_stride),
              pixels = images_ * g.patches() * side * side;
      if (pixels > std::numeric_limits<int32_t>::max()) {
        fail("a batch of {} images gathers more than 2^31 pixels; use a smaller batch", images_);
      }
      gathered_bytes_ = std::max(gathered_bytes_, pixels * block.inner.front().pitch * element_bytes());
      gathered_pixels_ = std::max(gathered_pixels_, images_ * g.output_height * g.output_width);
    }
    if (program_.blocks[index].runs(cuda::OperationKind::add_relu)) {
      block.body = scratch_map(executable_.spec().blocks[index].convs.size(), {block.y.height, block.y.width},
                               block.y.channels)
                       .data;
    }
  }

  /// Blocks run one after the other: one buffer, as large as the largest needs.
  void plan_gathers() {
    if (gathered_bytes_ == 0) return;
    auto* gathered = arenas_.work.take<uint8_t>(gathered_bytes_);
    auto* pixels = arenas_.work.take<int32_t>(gathered_pixels_);
    for (CudaBlockMemory& block : layout_.blocks) block.gathered = gathered, block.gathered_pixels = pixels;
  }

  void plan_head(const DeviceMap& last) {
    layout_.features_pitch = last.pitch;
    layout_.logits_pitch = cuda::padded_channels(executable_.spec().arch.classes);
    layout_.features = arenas_.work.take<float>(images_ * layout_.features_pitch);
    layout_.logits = arenas_.report.take<float>(images_ * layout_.logits_pitch);
    layout_.image_count = arenas_.work.take<int32_t>(1);
    layout_.checked_layers += 1;
  }

  const CudaExecutable& executable_;
  const NetworkGeometry& geometry_;
  int64_t images_;
  const cuda::NetworkProgram& program_;
  CudaMemory::Arenas& arenas_;
  CudaLayout layout_;
  int64_t gathered_bytes_ = 0, gathered_pixels_ = 0;
  std::map<std::tuple<size_t, int64_t, int64_t, int>, DeviceMap> maps_;
  std::map<std::tuple<int64_t, int64_t, int64_t, int64_t, int>, std::pair<CudaLists, CudaLists>> lists_;
};

CudaMemory::CudaMemory(const CudaExecutable& executable, const NetworkGeometry& geometry, int64_t images) {
  const NetworkSchedule plan = executable.plan_for(geometry, images);
  const ModelSpec& spec = executable.spec();
  sparse_program_ = cuda::network_program(spec, geometry, images, &plan, executable.target());
  dense_program_ = cuda::network_program(spec, geometry, images, nullptr, executable.target());
  Arenas sizes;
  CudaLayoutBuilder(executable, geometry, images, sparse_program_, sizes).build();
  work_ = cuda::DeviceBuffer(sizes.work.size(), fmt::format("a batch of {} images of {} x {}", images,
                                                            geometry.input.height, geometry.input.width));
  request_ = CudaMirror(sizes.request.size());
  report_ = CudaMirror(sizes.report.size());
  Arenas arenas{CudaArena(work_.data()), CudaArena(request_.device.data()), CudaArena(report_.device.data())};
  layout_ = CudaLayoutBuilder(executable, geometry, images, sparse_program_, arenas).build();
}

float* CudaMemory::feature(size_t blocks, int64_t floats) {
  auto found = features_.find(blocks);
  if (found == features_.end()) {
    const int64_t bytes = floats * static_cast<int64_t>(sizeof(float));
    found = features_.emplace(blocks, cuda::DeviceBuffer(bytes, "a feature map")).first;
  }
  return static_cast<float*>(found->second.data());
}

}  // namespace lasnet
