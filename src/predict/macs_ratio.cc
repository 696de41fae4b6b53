#include "predict/macs_ratio.h"

#include <cmath>

#include "mask/activity.h"

namespace lasnet {

ComputedShares expected_shares(const BlockGeometry& block, double rate) {
  return {.nonempty = 1 - std::pow(1 - rate, static_cast<double>(block.grid.patches())),
          .dilated = DilationHistogram(block).expected(rate) / static_cast<double>(block.middle.pixels()),
          .active = rate};
}

double macs_ratio(const ModelSpec& spec, const NetworkGeometry& geometry,
                  const std::function<ComputedShares(size_t)>& shares_of) {
  auto macs = static_cast<double>(fixed_macs(spec, geometry));
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    const BlockMacs of_block = block_macs(spec.blocks[b], geometry.blocks[b]);
    if (!spec.blocks[b].is_dynamic()) {
      macs += static_cast<double>(of_block.dense_total());
      continue;
    }
    const BlockMacs::Terms terms = of_block.terms();
    const ComputedShares shares = shares_of(b);
    macs += terms.always + terms.nonempty * shares.nonempty + terms.dilated * shares.dilated +
            terms.active * shares.active;
  }
  return macs / static_cast<double>(static_macs(spec, geometry.input));
}

}  // namespace lasnet
