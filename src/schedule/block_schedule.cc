#include <span>
#include <string_view>
#include <utility>

#include "base/enum_names.h"
#include "base/numbers.h"
#include "lasnet/schedule.h"

namespace lasnet {
namespace {

constexpr auto kMaskers =
    enum_names<MaskerSchedule>("schedule", {{MaskerSchedule::separate, "separate"},
                                            {MaskerSchedule::incremental, "incremental"},
                                            {MaskerSchedule::with_conv1, "with_conv1"}});
constexpr auto kGathers = enum_names<GatherSchedule>(
    "schedule", {{GatherSchedule::indirect, "indirect"}, {GatherSchedule::copied, "copied"}});
constexpr auto kScatters = enum_names<ScatterSchedule>(
    "schedule", {{ScatterSchedule::in_place, "in_place"}, {ScatterSchedule::separate, "separate"}});
constexpr auto kTraversals = enum_names<Traversal>(
    "schedule", {{Traversal::whole_map, "whole_map"}, {Traversal::row_bands, "row_bands"}});

/// What "incremental" was called before 0.2.
constexpr std::string_view kFormerIncremental = "pooled";

/// The message names the key.
template <class Enum, size_t N>
Enum parse_choice(EnumNames<Enum, N> names, std::string_view key, std::string_view text) {
  names.what = key;
  return names.parse(text);
}

double parse_share(std::string_view key, std::string_view text) {
  const auto share = parse_number<double>(text);
  if (!share || !(*share >= 0)) fail("{}={}: expected a share of pixels >= 0 (above 1: never)", key, text);
  return *share;
}

void parse_entry(std::string_view entry, BlockSchedule& plan) {
  size_t equals = entry.find('=');
  std::string_view key = entry.substr(0, equals);
  std::string_view value = equals == entry.npos ? std::string_view() : entry.substr(equals + 1);
  if (key == "masker") {
    plan.masker = parse_choice(kMaskers, key, value == kFormerIncremental ? "incremental" : value);
  } else if (key == "gather") {
    plan.gather = parse_choice(kGathers, key, value);
  } else if (key == "scatter") {
    plan.scatter = parse_choice(kScatters, key, value);
  } else if (key == "traversal") {
    plan.traversal = parse_choice(kTraversals, key, value);
  } else if (key == "whole_map_above") {
    plan.whole_map_above = parse_share(key, value);
  } else {
    fail("'{}': unknown schedule; expected masker=, gather=, scatter=, traversal= or whole_map_above=",
         entry);
  }
}

bool reads_each_pixel_once(const ConvSpec& conv) {
  return conv.kernel == 1 && conv.stride == 1 && conv.groups == 1;
}

}  // namespace

BlockSchedule parse_block_schedule(const std::string& text) {
  BlockSchedule plan;
  std::string_view rest = text;
  while (!rest.empty()) {
    size_t comma = rest.find(',');
    parse_entry(rest.substr(0, comma), plan);
    rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 1);
  }
  return plan;
}

std::string to_string(MaskerSchedule masker) { return kMaskers.name(masker); }

std::string to_string(const BlockSchedule& plan) {
  return fmt::format("masker={},gather={},scatter={},traversal={},whole_map_above={:g}",
                     kMaskers.name(plan.masker), kGathers.name(plan.gather), kScatters.name(plan.scatter),
                     kTraversals.name(plan.traversal), plan.whole_map_above);
}

BlockSchedule feasible_schedule(const BlockSpec& block, BlockSchedule wanted) {
  BlockSchedule plan = wanted;
  bool pointwise = reads_each_pixel_once(block.convs.front());
  bool dense_pool = block.pools_densely();
  if (!block.is_dynamic()) return {.scatter = wanted.scatter, .whole_map_above = wanted.whole_map_above};
  if (plan.masker == MaskerSchedule::with_conv1 && (!pointwise || dense_pool))
    plan.masker = BlockSchedule().masker;
  // A patch of one pixel is its own sum.
  if (plan.masker == MaskerSchedule::incremental && block.granularity == 1 && block.stride == 1) {
    plan.masker = MaskerSchedule::separate;
  }
  const bool dilated = block.convs[1].dilation > 1;  // copies and bands have a halo of one pixel
  if (plan.gather == GatherSchedule::copied && (dense_pool || dilated))
    plan.gather = GatherSchedule::indirect;
  // A map that is one patch has no bands of patches.
  if (plan.traversal == Traversal::row_bands &&
      (block.skips_whole_maps() || !pointwise || dilated || block.projection || block.squeeze_excite ||
       plan.gather == GatherSchedule::copied || plan.scatter == ScatterSchedule::separate ||
       plan.masker == MaskerSchedule::with_conv1)) {
    plan.traversal = Traversal::whole_map;
  }
  return plan;
}

NetworkSchedule uniform_schedule(const ModelSpec& spec, const BlockSchedule& plan) {
  NetworkSchedule network;
  for (const BlockSpec& block : spec.blocks) network.blocks.push_back(feasible_schedule(block, plan));
  return network;
}

}  // namespace lasnet
