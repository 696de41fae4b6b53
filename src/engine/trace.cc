#include "engine/trace.h"

#include <algorithm>

namespace lasnet {

TraceBuilder::TraceBuilder(const ModelSpec& spec, const RunRequest& request, Trace& trace)
    : spec_(spec), request_(request), trace_(trace) {
  trace_.static_macs = fixed_macs(spec, request.geometry);
  trace_.image_macs.assign(request.batch(), static_cast<double>(trace_.static_macs));
  trace_.blocks.resize(spec.blocks.size());
}

void TraceBuilder::add_block(const BlockOutcome& outcome) {
  size_t index = blocks_++;
  const BlockSpec& spec = spec_.blocks[index];
  const BlockGeometry& geometry = request_.geometry.blocks[index];
  const BlockMacs& macs = request_.macs[index];
  BlockTrace& block = trace_.blocks[index];
  block.name = spec.name;
  block.granularity = spec.granularity;
  block.height = geometry.output.height;
  block.width = geometry.output.width;
  block.masking_seconds = outcome.masking_seconds;
  block.seconds = outcome.seconds;
  block.operations = outcome.operations;
  block.static_macs = macs.static_total();
  block.macs = 0;
  block.rates.clear();
  bool everything = outcome.patches.empty();
  int64_t skipped_masker = request_.dense ? macs.masker : 0;
  double batch = static_cast<double>(request_.batch()), rate_sum = 0, dilated_sum = 0;
  for (int64_t n = 0; n < request_.batch(); ++n) {
    double rate = 1, dilated_rate = 1;
    if (!everything) {
      rate = static_cast<double>(outcome.active_counts[n]) / static_cast<double>(geometry.output.pixels());
      dilated_rate =
          static_cast<double>(outcome.dilated_counts[n]) / static_cast<double>(geometry.middle.pixels());
    }
    double image_macs = macs.dynamic_total(rate, dilated_rate) - static_cast<double>(skipped_masker);
    block.rates.push_back(rate);
    block.macs += image_macs / batch;
    trace_.image_macs[n] += image_macs;
    rate_sum += rate;
    dilated_sum += dilated_rate;
  }
  block.rate = rate_sum / batch;
  block.dilated_rate = dilated_sum / batch;
  trace_.static_macs += block.static_macs;
  record(outcome, geometry, block);
}

void TraceBuilder::record(const BlockOutcome& outcome, const BlockGeometry& geometry,
                          BlockTrace& block) const {
  block.mask.shape.clear();
  block.mask.data.clear();
  block.logit_difference.shape.clear();
  block.logit_difference.data.clear();
  if (!request_.record_masks) return;
  int64_t batch = request_.batch(), pixels = geometry.output.pixels(),
          patches = geometry.grid.granularity > 0 ? geometry.grid.patches() : 0;
  block.mask.shape = {batch, block.height, block.width};
  block.mask.data.assign(batch * pixels, 1);
  for (int64_t n = 0; n < batch && !outcome.patches.empty(); ++n) {
    expand_patches(geometry.grid, outcome.patches.subspan(n * patches, patches),
                   std::span(block.mask.data).subspan(n * pixels, pixels));
  }
  if (outcome.differences.empty()) return;
  block.logit_difference.shape = {batch, geometry.grid.rows(), geometry.grid.cols()};
  block.logit_difference.data.assign(outcome.differences.begin(), outcome.differences.end());
}

void TraceBuilder::finish(double seconds) {
  trace_.seconds = seconds;
  trace_.macs = 0;
  for (double macs : trace_.image_macs) trace_.macs += macs / static_cast<double>(request_.batch());
}

}  // namespace lasnet
