// Choosing granularities from predicted latency: every candidate S is predicted for the whole network at
// once, and each stage (or block) takes the one that suits it.
#include <algorithm>
#include <limits>
#include <map>

#include "base/fail.h"
#include "lasnet/geometry.h"
#include "lasnet/latency.h"
#include "predict/break_even.h"
#include "predict/largest_share.h"
#include "predict/macs_ratio.h"

namespace lasnet {
namespace {

/// Rate and choice depend on each other; they settle at once or after a few rounds.
constexpr int kRounds = 4;
constexpr double kCurveRates[] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0};

ModelSpec with_granularity(ArchConfig arch, std::vector<int> granularity) {
  arch.granularity = std::move(granularity);
  return make_spec(arch);
}

class Searcher {
 public:
  Searcher(const ArchConfig& arch, const HardwareProfile& hardware, const LatencyQuery& query,
           const SearchOptions& options)
      : arch_(arch),
        hardware_(hardware),
        query_(query),
        options_(options),
        plain_(with_granularity(arch, {})) {
    const NetworkGeometry geometry = network_geometry(plain_, query.size);
    for (size_t b = 0; b < plain_.blocks.size(); ++b) {
      const int part = options.per_block ? static_cast<int>(b) : plain_.blocks[b].stage;
      part_of_block_.push_back(part);
      if (part >= static_cast<int>(maps_.size())) maps_.emplace_back();
      maps_[static_cast<size_t>(part)] = geometry.blocks[b].output;
    }
    for (const int s : options.granularities) {
      if (s < 1 || s > kWholeMapGranularity) fail("granularity {}; expected integers >= 1, or layer", s);
    }
    if (!query.rates.empty()) fail("rates: a search is for one rate; leave them out");
    if (options.granularities.empty()) fail("no granularities to choose from");
    if (!(options.tolerance >= 0)) fail("tolerance {:g}; expected a number >= 0", options.tolerance);
    if (!(options.max_patch_share > 0 && options.max_patch_share <= 1))
      fail("max_patch_share {:g}; expected a number > 0 and <= 1", options.max_patch_share);
    candidates_ = options.granularities;
    std::sort(candidates_.begin(), candidates_.end());
    candidates_.erase(std::unique(candidates_.begin(), candidates_.end()), candidates_.end());
  }

  GranularitySearch run() {
    GranularitySearch result;
    result.rate = query_.rate;
    if (options_.macs || options_.budget_s) result.rate = 0.5;
    for (int round = 0; round < kRounds; ++round) {
      std::vector<int> chosen = choose(result.rate);
      const bool settled = chosen == result.granularity;
      result.granularity = std::move(chosen);
      if (settled || !(options_.macs || options_.budget_s)) break;
      result.rate = rate_for(result.granularity);
    }
    const ModelSpec spec = with_granularity(arch_, result.granularity);
    result.macs_ratio = expected_macs_ratio(spec, query_.size, result.rate);
    result.latency = predict(spec, result.rate);
    result.rates.assign(std::begin(kCurveRates), std::end(kCurveRates));
    add_curves(result);
    return result;
  }

 private:
  size_t parts() const { return maps_.size(); }

  NetworkLatency predict(const ModelSpec& spec, double rate) const {
    LatencyQuery query = query_;
    query.rate = rate;
    return predict_latency(spec, hardware_, query);
  }

  /// Seconds of every part with this S everywhere.
  std::vector<double> part_seconds(int granularity, double rate) const {
    const std::vector<int> everywhere(arch_stages(), granularity);
    const NetworkLatency latency = predict(with_granularity(arch_, everywhere), rate);
    std::vector<double> seconds(parts());
    for (size_t b = 0; b < latency.blocks.size(); ++b) {
      seconds[static_cast<size_t>(part_of_block_[b])] += latency.blocks[b].dynamic_s;
    }
    return seconds;
  }

  size_t arch_stages() const { return static_cast<size_t>(plain_.blocks.back().stage) + 1; }

  bool covers(int granularity, size_t part) const {
    return granularity >= std::max(maps_[part].height, maps_[part].width);
  }

  /// Of the candidates that cover a part's map one is offered: layer skipping, else the smallest.
  bool offered(int granularity, size_t part) const {
    if (!covers(granularity, part)) return true;
    if (candidates_.back() == kWholeMapGranularity) return granularity == kWholeMapGranularity;
    return granularity ==
           *std::find_if(candidates_.begin(), candidates_.end(), [&](int s) { return covers(s, part); });
  }

  /// Of a part's map that one patch covers.
  double patch_share(int granularity, size_t part) const {
    const MapSize& map = maps_[part];
    const int64_t pixels =
        std::min<int64_t>(granularity, map.height) * std::min<int64_t>(granularity, map.width);
    return static_cast<double>(pixels) / static_cast<double>(map.pixels());
  }

  bool is_coarse(int granularity, size_t part) const {
    return patch_share(granularity, part) > options_.max_patch_share;
  }

  /// Whether it may be chosen. Where every patch is too large, the smallest may.
  bool suits(int granularity, size_t part) const {
    const int smallest =
        *std::find_if(candidates_.begin(), candidates_.end(), [&](int s) { return offered(s, part); });
    return offered(granularity, part) && (!is_coarse(granularity, part) || granularity == smallest);
  }

  std::vector<int> choose(double rate) const {
    std::map<int, std::vector<double>> seconds;
    for (const int s : candidates_) seconds[s] = part_seconds(s, rate);
    std::vector<int> chosen;
    for (size_t part = 0; part < parts(); ++part) {
      double least = std::numeric_limits<double>::infinity();
      for (const int s : candidates_) {
        if (suits(s, part)) least = std::min(least, seconds[s][part]);
      }
      chosen.push_back(*std::find_if(candidates_.begin(), candidates_.end(), [&](int s) {
        return suits(s, part) && seconds[s][part] <= least * (1 + options_.tolerance);
      }));
    }
    return chosen;
  }

  double rate_for(const std::vector<int>& granularity) const {
    const ModelSpec spec = with_granularity(arch_, granularity);
    if (options_.macs) return rate_for_macs_ratio(spec, query_.size, *options_.macs);
    const double least = predict(spec, 0).dynamic_s;
    if (least > *options_.budget_s) {
      fail("budget of {:.4g} ms: even with nothing active {} takes {:.4g} ms on {}; expected at least that",
           1e3 * *options_.budget_s, arch_.name, 1e3 * least, hardware_.name);
    }
    return largest_share(*options_.budget_s, [&](double rate) { return predict(spec, rate).dynamic_s; });
  }

  static std::vector<double> speedups(const SearchCurve& curve) {
    std::vector<double> of_rates;
    for (const double seconds : curve.seconds) of_rates.push_back(curve.static_s / seconds);
    return of_rates;
  }

  /// Name and place of a part's curves.
  SearchCurve empty_curve(size_t part, int granularity) const {
    const auto found = std::find(part_of_block_.begin(), part_of_block_.end(), static_cast<int>(part));
    const BlockSpec& block = plain_.blocks[static_cast<size_t>(found - part_of_block_.begin())];
    return {.stage = block.stage,
            .name = options_.per_block ? block.name : fmt::format("stage {}", block.stage + 1),
            .granularity = granularity,
            .seconds = {}};
  }

  /// Part by part, each with its candidates in rising order.
  void add_curves(GranularitySearch& result) const {
    std::vector<std::vector<SearchCurve>> of_part(parts());
    std::vector<double> static_s(parts());
    for (size_t b = 0; b < part_of_block_.size(); ++b)
      static_s[static_cast<size_t>(part_of_block_[b])] += result.latency.blocks[b].static_s;
    for (const int s : candidates_) {
      const std::vector<double> at_rate = part_seconds(s, result.rate);
      for (size_t part = 0; part < parts(); ++part) {
        SearchCurve& curve = of_part[part].emplace_back(empty_curve(part, s));
        curve.seconds_at_rate = at_rate[part];
        curve.static_s = static_s[part];
        curve.chosen = result.granularity[part] == s;
        curve.patch_share = patch_share(s, part);
        curve.coarse = is_coarse(s, part);
      }
      for (const double rate : result.rates) {
        const std::vector<double> seconds = part_seconds(s, rate);
        for (size_t part = 0; part < parts(); ++part) of_part[part].back().seconds.push_back(seconds[part]);
      }
    }
    for (size_t part = 0; part < parts(); ++part) {
      const auto chosen = std::find_if(of_part[part].begin(), of_part[part].end(),
                                       [](const SearchCurve& curve) { return curve.chosen; });
      const double chosen_s = chosen->seconds_at_rate;
      for (SearchCurve& curve : of_part[part]) {
        if (!offered(curve.granularity, part)) continue;
        curve.saves = 1 - curve.seconds_at_rate / chosen_s;
        curve.break_even = break_even(result.rates, speedups(curve));
        result.curves.push_back(std::move(curve));
      }
    }
  }

  ArchConfig arch_;
  const HardwareProfile& hardware_;
  const LatencyQuery& query_;
  const SearchOptions& options_;
  ModelSpec plain_;
  std::vector<int> part_of_block_;
  std::vector<MapSize> maps_;  ///< of each part
  std::vector<int> candidates_;
};

}  // namespace

double expected_macs_ratio(const ModelSpec& spec, MapSize size, double rate) {
  const NetworkGeometry geometry = network_geometry(spec, size);
  return macs_ratio(spec, geometry, [&](size_t b) { return expected_shares(geometry.blocks[b], rate); });
}

double rate_for_macs_ratio(const ModelSpec& spec, MapSize size, double macs) {
  const double least = expected_macs_ratio(spec, size, 0), most = expected_macs_ratio(spec, size, 1);
  if (!(macs >= least && macs <= most)) {
    fail("MAC ratio {:g}: masks of {} at {} x {} px give from {:.3f} to {:.3f}", macs, spec.arch.name,
         size.height, size.width, least, most);
  }
  return largest_share(macs, [&](double rate) { return expected_macs_ratio(spec, size, rate); });
}

GranularitySearch search_granularity(const ArchConfig& arch, const HardwareProfile& hardware,
                                     const LatencyQuery& query, const SearchOptions& options) {
  return Searcher(arch, hardware, query, options).run();
}

}  // namespace lasnet
