#include "engine/cpu_body.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "engine/check_finite.h"
#include "engine/cpu_masking.h"

namespace lasnet {
namespace {

bool uses_dense_pool(const CpuBlock& block) {
  return block.squeeze_excite && block.squeeze_excite->pool == SePool::dense;
}

}  // namespace

CpuBody::CpuBody(const CpuExecutable& executable, size_t index, BlockMemory& memory, const BodyRun& run,
                 CpuLoops& loops)
    : block_(executable.blocks()[index]),
      plan_(executable.plan().blocks[index]),
      memory_(memory),
      everything_(memory.lists->everything),
      lists_(run.sparse ? memory.lists->current : memory.lists->everything),
      run_(run),
      loops_(loops) {}

void CpuBody::check(const ConvSpec& conv, const CpuMap& out, PixelPairs pixels) const {
  if (!run_.check_finite) return;
  check_finite({conv.name, out.data.data(), out.pitch, conv.out_channels, out.size, pixels});
}

void CpuBody::run() {
  double rate = static_cast<double>(lists_.active.count()) / static_cast<double>(everything_.active.count());
  bool whole_map = rate >= plan_.whole_map_above;
  if (plan_.traversal == Traversal::row_bands && run_.sparse && !whole_map) {
    run_row_bands();
    return;
  }
  if (lists_.active.count() > 0) {
    if (uses_dense_pool(block_)) {
      for (int64_t n = 0; n < memory_.images; ++n) {
        if (lists_.active.images(n, n + 1).count > 0) run_inner(everything_, {n, n + 1});
      }
    } else {
      run_inner(whole_map ? everything_ : lists_, {0, memory_.images});
    }
    if (block_.squeeze_excite) run_squeeze_excite();
  }
  run_last();
}

void CpuBody::run_conv1(PixelPairs pixels) {
  const CpuConv& conv = block_.convs[0];
  CpuMap& out = *memory_.inner[0];
  if (!run_.conv1_done) {
    ConvSource in = windows_of(*memory_.x, memory_.taps[0], pixels.in);
    loops_.conv(conv_call(conv.packed, in, out, pixels, Epilogue::bias_relu));
  }
  check(conv.spec, out, pixels);
}

void CpuBody::run_conv2(const ActiveLists& lists, PixelPairs pixels) {
  const CpuConv& conv = block_.convs[1];
  CpuMap& out = *memory_.inner[1];
  loops_.conv(conv_call(conv.packed, second_input(lists, pixels), out, pixels, Epilogue::bias_relu));
  check(conv.spec, out, pixels);
}

void CpuBody::run_inner(const ActiveLists& lists, ImageRange images) {
  run_conv1(lists.dilated.images(images.first, images.last));
  if (memory_.inner.size() > 1) run_conv2(lists, lists.active.images(images.first, images.last));
}

void CpuBody::run_row_bands() {
  const PatchGrid& grid = memory_.builder.grid();
  const MapSize map = memory_.x->size;
  for (int64_t n = 0; n < memory_.images; ++n) {
    int64_t done = n * map.height;  // rows of D, counted over the batch
    for (int64_t row = 0; row < grid.rows(); row += memory_.band_patch_rows) {
      int64_t end = std::min(row + memory_.band_patch_rows, grid.rows());
      // The windows of the band's last row read one row below it.
      int64_t needed = n * map.height + std::min(end * grid.granularity + 1, map.height);
      run_conv1(lists_.dilated.pairs().range(lists_.dilated_rows[done], lists_.dilated_rows[needed]));
      done = needed;
      int64_t first = lists_.patch_rows[n * grid.rows() + row],
              last = lists_.patch_rows[n * grid.rows() + end];
      run_conv2(lists_, lists_.of_patches(first, last));
      add_in_place(first, last);
    }
  }
}

ConvSource CpuBody::second_input(const ActiveLists& lists, PixelPairs pixels) {
  const CpuMap& in = *memory_.inner[0];
  if (memory_.gathered == nullptr || !run_.sparse) return windows_of(in, memory_.taps[1], pixels.in);
  GatherBuffer& buffer = *memory_.gathered;
  const PatchGrid& grid = memory_.builder.grid();
  int64_t stride = block_.convs[1].spec.stride, side = (grid.granularity - 1) * stride + 3;
  buffer.centres.resize(lists.active.count());
  float* data = buffer.data.data();
  loops_.for_each(lists.active_patches(), [&](int64_t p, int) {
    const ActivePatch& patch = lists.patches[p];
    PixelRect rect = patch_pixels(grid, patch.row, patch.col);
    int64_t height = (rect.bottom - rect.top - 1) * stride + 3,
            width = (rect.right - rect.left - 1) * stride + 3;
    for (int64_t y = 0; y < height; ++y) {
      int64_t from = bordered_index(in.size, patch.image, rect.top * stride - 1 + y, rect.left * stride - 1);
      std::memcpy(data + (p * side + y) * side * in.pitch, in.data.data() + from * in.pitch,
                  width * in.pitch * sizeof(float));
    }
    int32_t* centre = buffer.centres.data() + patch.begin;
    for (int64_t y = 0; y < rect.bottom - rect.top; ++y) {
      for (int64_t x = 0; x < rect.right - rect.left; ++x) {
        *centre++ = static_cast<int32_t>((p * side + y * stride + 1) * side + x * stride + 1);
      }
    }
  });
  return {data, in.pitch, memory_.gathered_taps.data(), buffer.centres.data()};
}

ConvSource CpuBody::last_input(int64_t first) {
  PixelPairs pixels = lists_.active.pairs();
  if (memory_.inner.size() == 1) return second_input(lists_, pixels);
  return windows_of(*memory_.inner[1], memory_.taps[2], pixels.out + first);  // inner[1] is of y's size
}

void CpuBody::run_last() {
  if (plan_.scatter == ScatterSchedule::separate) {
    add_separately();
    keep_sums_later();
  } else if (block_.projected_last) {
    add_projected();
    keep_sums_later();
  } else {
    add_in_place(0, lists_.active_patches());
  }
}

void CpuBody::add_in_place(int64_t first_patch, int64_t last_patch) {
  CpuMap& y = *memory_.y;
  PixelPairs pixels = lists_.of_patches(first_patch, last_patch);
  ConvSource in = last_input(lists_.patches[first_patch].begin);
  ConvCall call = conv_call(block_.convs.back().packed, in, y, pixels, Epilogue::bias_add_relu);
  PatchSums* sums = memory_.kept_sums;
  const PatchGrid& grid = memory_.builder.grid();
  bool keep = sums != nullptr && sums->valid && sums->grid == grid;
  int64_t patch_pixels = int64_t{grid.granularity} * grid.granularity;
  if (sums != nullptr && !keep) sums->valid = false;
  if (keep && patch_pixels <= kMaxTaskPixels) {
    const std::vector<ChannelBlock>& blocks = call.conv->blocks;
    loops_.conv_patches(call, lists_, first_patch, last_patch,
                        [&](const ConvTask& task, int64_t first, int64_t last) {
                          const ChannelBlock& end = blocks[task.block_end - 1];
                          refresh_sums(*sums, lists_, first, last, blocks[task.block_begin].channel,
                                       end.channel + end.width, loops_.kernels());
                        });
  } else {
    loops_.conv(call);
    if (keep) keep_sums_later();
  }
  check(block_.convs.back().spec, y, pixels);
}

void CpuBody::keep_sums_later() {
  PatchSums* sums = memory_.kept_sums;
  if (sums == nullptr || !sums->valid) return;
  if (memory_.y != memory_.x || !(sums->grid == memory_.builder.grid())) {
    sums->valid = false;
    return;
  }
  loops_.for_each(lists_.active_patches(), [&](int64_t p, int) {
    refresh_sums(*sums, lists_, p, p + 1, 0, sums->channels, loops_.kernels());
  });
}

ConvCall CpuBody::projection_call(const PackedConv& conv, Epilogue epilogue) const {
  PixelPairs all = lists_.projected.all();
  return conv_call(conv, windows_of(*memory_.x, memory_.projection_taps, all.in), *memory_.y, all, epilogue);
}

void CpuBody::add_projected() {
  CpuMap& y = *memory_.y;
  ConvCall call = projection_call(*block_.projected_last, Epilogue::bias_relu);
  ConvSource in = last_input(0);
  call.extra = {in.data, in.pitch, in.taps, in.centres, lists_.active.count()};
  if (run_.check_finite) {  // of the projection alone, to tell it from the last convolution
    ConvCall alone = call;
    alone.extra.count = 0;
    loops_.conv(alone);
    check(block_.projection->spec, y, call.pixels);
  }
  loops_.conv(call);
  check(block_.convs.back().spec, y, call.pixels);
}

void CpuBody::add_separately() {
  CpuMap &y = *memory_.y, &addend = *memory_.addend;
  if (block_.projection) {
    ConvCall call = projection_call(block_.projection->packed, Epilogue::bias);
    loops_.conv(call);
    check(block_.projection->spec, y, call.pixels);
  }
  int64_t rows = memory_.images * y.size.height, floats = y.size.width * y.pitch;
  auto row_of = [&](CpuMap& map, int64_t row) {
    return map.data.data() + bordered_index(y.size, row / y.size.height, row % y.size.height, 0) * map.pitch;
  };
  loops_.for_each(rows, [&](int64_t row, int) { std::fill_n(row_of(addend, row), floats, 0.0f); });
  PixelPairs pixels = lists_.active.pairs();
  loops_.conv(conv_call(block_.convs.back().packed, last_input(0), addend, pixels, Epilogue::bias));
  check(block_.convs.back().spec, addend, pixels);
  loops_.for_each(rows, [&](int64_t row, int) {
    loops_.kernels().add_relu({row_of(addend, row), row_of(y, row), floats});
  });
}

}  // namespace lasnet
