#include "kernel_operands.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "backends/cuda/kernels/pack.h"
#include "base/float_formats.h"

namespace lasnet::cuda {

double rounding(Precision precision) {
  switch (precision) {
    case Precision::fp32:
      return 0x1p-24;
    case Precision::tf32:
    case Precision::fp16:
      return 0x1p-11;
    case Precision::bf16:
      return 0x1p-8;
    case Precision::int8:  // the cuda backend has none
      break;
  }
  return 0;
}

float element(const uint8_t* bytes, Precision precision) {
  if (element_bytes(precision) == 4) {
    float value;
    std::memcpy(&value, bytes, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, bytes, 2);
  return precision == Precision::fp16 ? f16_to_f32(half) : bf16_to_f32(half);
}

Map::Map(const Tensor& x, Precision p)
    : size{x.shape[1], x.shape[2]},
      images(x.shape[0]),
      channels(static_cast<int>(x.shape[3])),
      pitch(padded_channels(channels)),
      precision(p) {
  std::vector<float> values(bordered_pixels(size, images) * pitch);
  for (int64_t i = 0; i < images * size.pixels(); ++i) {
    int64_t index = bordered_index(size, i / size.pixels(), i % size.pixels() / size.width, i % size.width);
    std::copy_n(&x.data[i * channels], channels, &values[index * pitch]);
  }
  std::vector<uint8_t> bytes;
  append_elements(values, p == Precision::tf32 ? Precision::fp32 : p, bytes);
  buffer = DeviceBuffer(static_cast<int64_t>(bytes.size()), "a test");
  buffer.upload(bytes.data(), buffer.bytes());
}

DeviceMap Map::device() const {
  return {buffer.data(), pitch, static_cast<int>(size.height), static_cast<int>(size.width), channels};
}

float Map::at(int64_t index, int channel) const {
  return element(static_cast<uint8_t*>(buffer.data()) + (index * pitch + channel) * element_bytes(precision),
                 precision);
}

Tensor Map::tensor() const {
  Tensor x({images, size.height, size.width, channels});
  for (int64_t i = 0; i < x.size(); ++i) {
    int64_t p = i / channels, n = p / size.pixels(), y = p % size.pixels() / size.width, col = p % size.width;
    x.data[i] = at(bordered_index(size, n, y, col), static_cast<int>(i % channels));
  }
  return x;
}

void Map::expect_zero_border() const {
  for (int64_t n = 0; n < images; ++n) {
    for (int64_t y = -1; y <= size.height; ++y) {
      for (int64_t x = -1; x <= size.width; ++x) {
        if (y >= 0 && y < size.height && x >= 0 && x < size.width) continue;
        for (int c = 0; c < pitch; ++c) ASSERT_EQ(at(bordered_index(size, n, y, x), c), 0.0f);
      }
    }
  }
}

Lists::Lists(const ListGeometry& geometry, std::vector<uint8_t> decisions)
    : g(geometry),
      patches(std::move(decisions)),
      lists(kMaxTargets),
      masked(kMaxTargets),
      cells(kMaxTargets),
      launches(kMaxTargets) {
  call.geometry = g;
  call.patches = patches.data();
}

void Lists::add(ListKind kind, int whole_from) {
  int i = call.count++;
  int64_t capacity = static_cast<int64_t>(g.images) * domain_height(g, kind) * domain_width(g, kind);
  lists[i].in.assign(capacity, -7), lists[i].out.assign(capacity, -7);
  lists[i].begin.assign(g.images + 1, -7);
  int chunks = g.images * chunks_per_image(g, kind);
  cells[i].assign(chunks, 0), masked[i].assign(chunks, -7);
  call.targets[i] = {kind, whole_from, lists[i].device(), {cells[i].data(), &launches[i]}, masked[i].data()};
}

BlockGeometry block_geometry(MapSize input, int stride, int dilation_stride, int granularity) {
  const MapSize output{(input.height + stride - 1) / stride, (input.width + stride - 1) / stride};
  return {.input = input,
          .middle = dilation_stride == stride ? input : output,
          .output = output,
          .dilation_stride = dilation_stride,
          .grid = {output, granularity}};
}

ListGeometry list_geometry(int images, MapSize input, int stride, int dilation_stride, int granularity) {
  auto n = [](int64_t v) { return static_cast<int>(v); };
  const BlockGeometry block = block_geometry(input, stride, dilation_stride, granularity);
  return {.images = images,
          .input_height = n(block.input.height),
          .input_width = n(block.input.width),
          .middle_height = n(block.middle.height),
          .middle_width = n(block.middle.width),
          .output_height = n(block.output.height),
          .output_width = n(block.output.width),
          .stride = stride,
          .dilation_stride = dilation_stride,
          .granularity = granularity,
          .patch_rows = n(block.grid.rows()),
          .patch_cols = n(block.grid.cols())};
}

}  // namespace lasnet::cuda
