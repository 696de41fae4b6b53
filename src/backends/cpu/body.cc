#include "backends/cpu/body.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/masking.h"
#include "engine/check_finite.h"
#include "mask/tap_offsets.h"

namespace lasnet {
CpuBody::CpuBody(const CpuExecutable& executable, size_t index, BlockMemory& memory, MaskOutcome outcome,
                 const RunRequest& request, CpuLoops& loops)
    : block_(executable.blocks()[index]),
      memory_(memory),
      outcome_(outcome),
      request_(request),
      everything_(memory.lists->everything),
      lists_(memory.lists_of(outcome)),
      loops_(loops),
      computed_(memory.computed),
      clock_(request, memory.seconds) {
  std::fill(computed_.begin(), computed_.end(), 0);
}

void CpuBody::inspect(const ConvSpec& conv, const CpuMap& out, PixelPairs pixels) const {
  if (!request_.inspects_layers()) return;
  request_.inspect({conv.name, out.data.data(), out.pitch, conv.out_channels, out.size, pixels, out.border});
}

void CpuBody::show_input() const {
  if (request_.layers == nullptr) return;
  const CpuMap& x = *memory_.x;
  const auto show = [&](const ConvSpec& conv, PixelPairs pixels) {
    request_.layers->reads({conv.name,
                            x.data.data(),
                            x.pitch,
                            conv.in_channels,
                            x.size,
                            {pixels.in, pixels.in, pixels.count},
                            x.border});
  };
  show(block_.convs[0].spec, lists_.dilated.pairs());
  if (block_.projection) show(block_.projection->spec, everything_.projected.all());
}

void CpuBody::convolve(const ConvCall& call) {
  loops_.conv(call);
  computed_[current_] += call.pixels.count;
}

void CpuBody::make_lists() {
  if (&lists_ == &everything_) return;
  clock_.time(current_, [&] { memory_.builder.build(memory_.patches, memory_.lists->current); });
  computed_[0] = lists_.active.count() + lists_.dilated.count() + lists_.projected.capacity();
  ++current_;
}

void CpuBody::run() {
  show_input();
  const bool conv1_ran = outcome_ != MaskOutcome::unmasked && memory_.pixel_dots != nullptr;
  if (conv1_ran) inspect(block_.convs[0].spec, *memory_.inner[0], lists_.dilated.pairs());
  if (outcome_ == MaskOutcome::partial && memory_.program.band_patch_rows > 0) {
    run_row_bands();
  } else {
    for (; current_ < operations().size(); ++current_) {
      clock_.time(current_, [&] { run(operations()[current_]); });
    }
  }
}

void CpuBody::run(const CpuOperation& operation) {
  switch (operation.op) {
    case CpuOperator::masker:
    case CpuOperator::lists:
      break;  // before the body: decide, make_lists
    case CpuOperator::gather:
      gather();
      break;
    case CpuOperator::conv:
      run_conv(operation);
      break;
    case CpuOperator::squeeze_excite:
      run_squeeze_excite();
      break;
    case CpuOperator::projection:
      run_projection();
      break;
    case CpuOperator::scatter_add:
      add_addend();
      break;
  }
}

void CpuBody::run_conv(const CpuOperation& operation) {
  if (operation.output == ConvOutput::bias) {
    write_addend();
  } else if (operation.output == ConvOutput::add_relu) {
    block_.projected_last ? add_projected() : add_in_place(0, lists_.active_patches());
  } else if (operation.over == PixelSet::active_images) {
    for (int64_t n = 0; n < memory_.images; ++n) {
      if (lists_.active.images(n, n + 1).count > 0) run_inner(operation.conv, everything_, {n, n + 1});
    }
  } else {
    run_inner(operation.conv, operation.over == PixelSet::whole_map ? everything_ : lists_,
              {0, memory_.images});
  }
}

void CpuBody::run_inner(int conv, const ActiveLists& lists, ImageRange images) {
  if (conv == 0) {
    run_conv1(lists.dilated.images(images.first, images.last));
  } else {
    run_conv2(lists.active.images(images.first, images.last));
  }
}

void CpuBody::run_conv1(PixelPairs pixels) {
  const CpuConv& conv = block_.convs[0];
  CpuMap& out = *memory_.inner[0];
  ConvSource in = windows_of(*memory_.x, memory_.taps[0], pixels.in);
  convolve(conv_call(conv.packed, in, out, pixels, Epilogue::bias_relu));
  inspect(conv.spec, out, pixels);
}

void CpuBody::run_conv2(PixelPairs pixels) {
  const CpuConv& conv = block_.convs[1];
  CpuMap& out = *memory_.inner[1];
  convolve(conv_call(conv.packed, second_input(pixels), out, pixels, Epilogue::bias_relu));
  inspect(conv.spec, out, pixels);
}

void CpuBody::run_row_bands() {
  const PatchGrid& grid = memory_.builder.grid();
  const MapSize map = memory_.x->size;
  const int64_t rows = memory_.program.band_patch_rows;
  const size_t conv1 = current_;
  for (int64_t n = 0; n < memory_.images; ++n) {
    int64_t done = n * map.height;  // rows of D, counted over the batch
    for (int64_t row = 0; row < grid.rows(); row += rows) {
      int64_t end = std::min(row + rows, grid.rows());
      // The windows of the band's last row read one row below it.
      int64_t needed = n * map.height + std::min(end * grid.granularity + 1, map.height);
      int64_t first = lists_.patch_rows[n * grid.rows() + row],
              last = lists_.patch_rows[n * grid.rows() + end];
      current_ = conv1;
      clock_.time(current_, [&] {
        run_conv1(lists_.dilated.pairs().range(lists_.dilated_rows[done], lists_.dilated_rows[needed]));
      });
      done = needed;
      current_ = conv1 + 1;
      clock_.time(current_, [&] { run_conv2(lists_.of_patches(first, last)); });
      current_ = conv1 + 2;
      clock_.time(current_, [&] { add_in_place(first, last); });
    }
  }
}

void CpuBody::gather() {
  const CpuMap& in = *memory_.inner[0];
  GatherBuffer& buffer = *memory_.gathered;
  const PatchGrid& grid = memory_.builder.grid();
  int64_t stride = block_.convs[1].spec.stride, side = halo_side(grid.granularity, stride);
  buffer.centres.resize(lists_.active.count());
  float* data = buffer.data.data();
  loops_.for_each(lists_.active_patches(), [&](int64_t p, int) {
    const ListedPatch& patch = lists_.patches[p];
    PixelRect rect = patch_pixels(grid, patch.row, patch.col);
    int64_t height = halo_side(rect.bottom - rect.top, stride),
            width = halo_side(rect.right - rect.left, stride);
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
  gathered_ = true;
  computed_[current_] = lists_.active_patches() * side * side;
}

ConvSource CpuBody::second_input(PixelPairs pixels) const {
  const CpuMap& in = *memory_.inner[0];
  if (!gathered_) return windows_of(in, memory_.taps[1], pixels.in);
  const GatherBuffer& buffer = *memory_.gathered;
  return {buffer.data.data(), in.pitch, memory_.gathered_taps.data(), buffer.centres.data()};
}

ConvSource CpuBody::last_input(int64_t first) const {
  PixelPairs pixels = lists_.active.pairs();
  if (memory_.inner.size() == 1) return second_input(pixels);
  return windows_of(*memory_.inner[1], memory_.taps[2], pixels.out + first);  // inner[1] is of y's size
}

void CpuBody::add_in_place(int64_t first_patch, int64_t last_patch) {
  CpuMap& y = *memory_.y;
  PixelPairs pixels = lists_.of_patches(first_patch, last_patch);
  ConvSource in = last_input(lists_.patches[first_patch].begin);
  ConvCall call = conv_call(block_.convs.back().packed, in, y, pixels, Epilogue::bias_add_relu);
  computed_[current_] += pixels.count;
  write_output(call, std::span(lists_.patches).subspan(first_patch, last_patch - first_patch + 1));
  inspect(block_.convs.back().spec, y, pixels);
}

void CpuBody::write_output(const ConvCall& call, std::span<const ListedPatch> patches) {
  PatchSums* sums = kept_sums();
  if (sums == nullptr) return loops_.conv(call);
  loops_.conv_patches_and_sums(call, patches, memory_.builder.grid().granularity, sums->channels,
                               [&](std::span<const ListedPatch> written, int begin, int end) {
                                 refresh_sums(*sums, written, begin, end, loops_.kernels());
                               });
}

void CpuBody::keep_sums(std::span<const ListedPatch> patches) {
  PatchSums* sums = kept_sums();
  if (sums == nullptr) return;
  loops_.for_each_slice(std::ssize(patches) - 1, sums->channels, [&](int64_t p, int begin, int end) {
    refresh_sums(*sums, patches.subspan(p, 1), begin, end, loops_.kernels());
  });
}

ConvCall CpuBody::projection_call(const PackedConv& conv, Epilogue epilogue) const {
  PixelPairs all = lists_.projected.all();
  return conv_call(conv, windows_of(*memory_.x, memory_.projection_taps, all.in), *memory_.y, all, epilogue);
}

void CpuBody::run_projection() {
  if (block_.projected_last) {  // add_projected runs both in one loop
    computed_[current_] = lists_.projected.capacity();
    return;
  }
  ConvCall call = projection_call(block_.projection->packed, Epilogue::bias);
  convolve(call);
  inspect(block_.projection->spec, *memory_.y, call.pixels);
}

void CpuBody::add_projected() {
  CpuMap& y = *memory_.y;
  ConvCall call = projection_call(*block_.projected_last, Epilogue::bias_relu);
  ConvSource in = last_input(0);
  call.extra = {in.data, in.pitch, in.taps, in.centres, lists_.active.count()};
  if (request_.inspects_layers()) {  // of the projection alone, to tell it from the last convolution
    ConvCall alone = call;
    alone.extra.count = 0;
    loops_.conv(alone);
    inspect(block_.projection->spec, y, call.pixels);
  }
  write_output(call, lists_.projected_patches);
  computed_[current_] = call.extra.count;
  inspect(block_.convs.back().spec, y, call.pixels);
}

template <typename Body>
void CpuBody::for_each_output_row(Body&& body) {
  CpuMap &y = *memory_.y, &addend = *memory_.addend;
  const int64_t floats = y.size.width * y.pitch;
  loops_.for_each(memory_.images * y.size.height, [&](int64_t row, int) {
    const int64_t at = bordered_index(y.size, row / y.size.height, row % y.size.height, 0) * y.pitch;
    body(addend.data.data() + at, y.data.data() + at, floats);
  });
}

void CpuBody::write_addend() {
  CpuMap& addend = *memory_.addend;
  for_each_output_row([](float* to, float*, int64_t floats) { std::fill_n(to, floats, 0.0f); });
  PixelPairs pixels = lists_.active.pairs();
  convolve(conv_call(block_.convs.back().packed, last_input(0), addend, pixels, Epilogue::bias));
  inspect(block_.convs.back().spec, addend, pixels);
}

void CpuBody::add_addend() {
  for_each_output_row([&](float* from, float* to, int64_t floats) {
    loops_.kernels().add_relu({from, to, floats});
  });
  computed_[current_] = memory_.images * memory_.y->size.pixels();
  keep_sums(block_.projection ? lists_.projected_patches : lists_.patches);
}

}  // namespace lasnet
