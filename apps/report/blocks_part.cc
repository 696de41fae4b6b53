// Time of every operation of every block, dense beside sparse.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "parts.h"

namespace lasnet::cli {
namespace {

/// Kinds of work, in the order in which a block does them.
constexpr std::array<const char*, 6> kKinds = {"masker", "lists", "conv1", "conv2", "last", "rest"};
constexpr size_t kRest = kKinds.size() - 1;
using ByKind = std::array<double, kKinds.size()>;

/// Of an operation that latency predictions call so. The last convolution has the projection and the
/// addition.
size_t kind_of(const std::string& operation, size_t convs) {
  if (operation.starts_with("masker")) return 0;
  if (operation == "lists") return 1;
  if (operation == fmt::format("conv{}", convs) || operation == "projection" || operation == "scatter_add")
    return 4;
  if (operation == "conv1") return 2;
  if (operation == "conv2" || operation == "gather") return 3;
  return kRest;
}

ByKind times_of(const BlockTrace& trace, const BlockSpec& spec) {
  ByKind ms = {};
  double rest = 1e3 * trace.seconds;
  for (const OperationTime& operation : trace.operations) {
    const size_t kind = kind_of(operation.name, spec.convs.size());
    ms[kind] += 1e3 * operation.seconds;
    if (kind != kRest) rest -= 1e3 * operation.seconds;
  }
  ms[kRest] = std::max(0.0, rest);
  return ms;
}

/// Of runs of one kind: medians.
class Collected {
 public:
  explicit Collected(const ModelSpec& spec) : spec_(spec), blocks_(spec.blocks.size()) {}

  void add(const Trace& trace) {
    double outside = 1e3 * trace.seconds;
    for (size_t b = 0; b < blocks_.size(); ++b) {
      const ByKind ms = times_of(trace.blocks[b], spec_.blocks[b]);
      for (size_t kind = 0; kind < ms.size(); ++kind) blocks_[b][kind].push_back(ms[kind]);
      outside -= 1e3 * trace.blocks[b].seconds;
    }
    outside_.push_back(outside);
    whole_.push_back(1e3 * trace.seconds);
  }

  Json block(size_t b) const {
    Json json = Json::object();
    for (size_t kind = 0; kind < kKinds.size(); ++kind) json[kKinds[kind]] = median(blocks_[b][kind]);
    return json;
  }
  double outside() const { return median(outside_); }
  double whole() const { return median(whole_); }

 private:
  const ModelSpec& spec_;
  std::vector<std::array<std::vector<double>, kKinds.size()>> blocks_;
  std::vector<double> outside_, whole_;
};

}  // namespace

Json measure_blocks(const Setup& setup, const Told& told) {
  const ModelSpec& spec = setup.model.spec;
  Session session(setup.model, {});
  Collected dense(spec), sparse(spec);
  std::vector<double> rates(spec.blocks.size());
  run_in_turn({{"operations", &session, {.dense = true, .record_masks = false, .time_operations = true}},
               {"operations", &session, {.record_masks = false, .time_operations = true}}},
              setup.inputs(), setup.repetitions.blocks, told, [&](size_t contender, const Result& result) {
                (contender == 0 ? dense : sparse).add(result.trace);
                for (size_t b = 0; contender == 1 && b < rates.size(); ++b)
                  rates[b] += result.trace.blocks[b].rate / setup.repetitions.blocks;
              });
  Json blocks = Json::array();
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    blocks.push_back({{"name", spec.blocks[b].name},
                      {"stage", spec.blocks[b].stage + 1},
                      {"granularity", granularity_json(spec.blocks[b].granularity)},
                      {"rate", rates[b]},
                      {"dense", dense.block(b)},
                      {"sparse", sparse.block(b)}});
  }
  return {{"command", fmt::format("lasnet bench {} --images {} --repeat {}", setup.options.model,
                                  setup.options.images, setup.repetitions.blocks)},
          {"kinds", kKinds},
          {"dense_ms", dense.whole()},
          {"sparse_ms", sparse.whole()},
          {"dense_outside_ms", dense.outside()},
          {"sparse_outside_ms", sparse.outside()},
          {"blocks", blocks}};
}

}  // namespace lasnet::cli
