#include "report/coverage.h"

#include <bit>

#include "base/fail.h"
#include "base/math.h"
#include "lasnet/report.h"

namespace lasnet {

std::vector<int64_t> map_positions(int pixels, int64_t map) {
  auto size = static_cast<uint64_t>(pixels);
  auto entries = static_cast<uint64_t>(map);
  uint64_t stride = std::bit_ceil(ceil_div(size, entries));
  bool strided = ceil_div(size, stride) == entries;
  std::vector<int64_t> positions(size);
  for (uint64_t i = 0; i < size; ++i) {
    positions[i] = static_cast<int64_t>(strided ? i / stride : i * entries / size);
  }
  return positions;
}

std::vector<int64_t> map_positions(int pixels, int64_t input, int64_t map) {
  const std::vector<int64_t> of_input = map_positions(static_cast<int>(input), map);
  std::vector<int64_t> positions(static_cast<size_t>(pixels));
  for (size_t i = 0; i < positions.size(); ++i) {
    positions[i] = of_input[i * of_input.size() / positions.size()];
  }
  return positions;
}

std::vector<const BlockTrace*> dynamic_blocks(const Trace& trace, int64_t index) {
  std::vector<const BlockTrace*> blocks;
  for (const BlockTrace& block : trace.blocks) {
    if (block.granularity == 0) continue;
    const Shape& shape = block.mask.shape;
    bool recorded = shape.size() == 3 && shape[1] == block.height && shape[2] == block.width &&
                    element_count(shape) == block.mask.size() && block.height > 0 && block.width > 0;
    if (!recorded) {
      fail("report: block {} has no recorded mask of {} x {}; run with record_masks", block.name,
           block.height, block.width);
    }
    if (index < 0 || index >= shape[0]) {
      fail("report: image {} of a batch of {}", index, shape[0]);
    }
    blocks.push_back(&block);
  }
  if (blocks.empty()) fail("report: the network is static, so there are no masks to show");
  return blocks;
}

std::vector<float> compute_density(const Trace& trace, int64_t index, int height, int width) {
  if (height < 1 || width < 1) fail("report: a density of {} x {} pixels", height, width);
  std::vector<const BlockTrace*> blocks = dynamic_blocks(trace, index);
  std::vector<float> density(static_cast<size_t>(height) * width);
  for (const BlockTrace* block : blocks) {
    std::vector<int64_t> rows = map_positions(height, block->height);
    std::vector<int64_t> columns = map_positions(width, block->width);
    float* to = density.data();
    for (int64_t row : rows) {
      for (int64_t column : columns) *to++ += is_active(*block, index, row, column);
    }
  }
  for (float& value : density) value /= static_cast<float>(blocks.size());
  return density;
}

}  // namespace lasnet
