#include "engine/trace.h"

#include <algorithm>

namespace lasnet {

TraceBuilder::TraceBuilder(const ModelSpec& spec, const RunRequest& request)
    : spec_(spec), request_(request) {
  trace_.static_macs = fixed_macs(spec, request.geometry);
  trace_.image_macs.assign(request.batch(), static_cast<double>(trace_.static_macs));
  trace_.blocks.reserve(spec.blocks.size());
}

void TraceBuilder::add_block(const BlockOutcome& outcome) {
  size_t index = trace_.blocks.size();
  const BlockSpec& spec = spec_.blocks[index];
  const BlockGeometry& geometry = request_.geometry.blocks[index];
  BlockMacs macs = block_macs(spec, geometry);
  BlockTrace block;
  block.name = spec.name;
  block.granularity = spec.granularity;
  block.height = geometry.output.height;
  block.width = geometry.output.width;
  block.masking_seconds = outcome.masking_seconds;
  block.seconds = outcome.seconds;
  block.static_macs = macs.static_total();
  bool everything = outcome.patches.empty();
  if (request_.dense || !spec.is_dynamic()) macs.masker = 0;
  double batch = static_cast<double>(request_.batch()), rate_sum = 0, dilated_sum = 0;
  for (int64_t n = 0; n < request_.batch(); ++n) {
    double rate = 1, dilated_rate = 1;
    if (!everything) {
      rate = static_cast<double>(outcome.active_counts[n]) / static_cast<double>(geometry.output.pixels());
      dilated_rate =
          static_cast<double>(outcome.dilated_counts[n]) / static_cast<double>(geometry.middle.pixels());
    }
    double image_macs = macs.dynamic_total(rate, dilated_rate);
    block.rates.push_back(rate);
    block.macs += image_macs / batch;
    trace_.image_macs[n] += image_macs;
    rate_sum += rate;
    dilated_sum += dilated_rate;
  }
  block.rate = rate_sum / batch;
  block.dilated_rate = dilated_sum / batch;
  trace_.static_macs += block.static_macs;
  if (request_.record_masks) record(outcome, geometry, block);
  trace_.blocks.push_back(std::move(block));
}

void TraceBuilder::record(const BlockOutcome& outcome, const BlockGeometry& geometry,
                          BlockTrace& block) const {
  int64_t batch = request_.batch(), pixels = geometry.output.pixels(),
          patches = geometry.grid.granularity > 0 ? geometry.grid.patches() : 0;
  block.mask = ByteTensor({batch, block.height, block.width}, 1);
  for (int64_t n = 0; n < batch && !outcome.patches.empty(); ++n) {
    expand_patches(geometry.grid, outcome.patches.subspan(n * patches, patches),
                   std::span(block.mask.data).subspan(n * pixels, pixels));
  }
  if (outcome.differences.empty()) return;
  block.logit_difference = Tensor({batch, geometry.grid.rows(), geometry.grid.cols()});
  std::copy(outcome.differences.begin(), outcome.differences.end(), block.logit_difference.data.begin());
}

Trace TraceBuilder::finish(double seconds) {
  trace_.seconds = seconds;
  trace_.macs = 0;
  for (double macs : trace_.image_macs) trace_.macs += macs / static_cast<double>(request_.batch());
  return std::move(trace_);
}

}  // namespace lasnet
