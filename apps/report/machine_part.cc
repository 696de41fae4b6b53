// What it all ran on, and how much times scatter there.
#include <cmath>
#include <ctime>

#include "base/cgroup.h"
#include "base/processors.h"
#include "calibrate/fma_peak.h"
#include "lasnet/version.h"
#include "latency_options.h"
#include "machine.h"
#include "parts.h"

namespace lasnet::cli {
namespace {

std::string date_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &utc);
  return text;
}

/// Pairs of dense runs, one right after the other: by how much they differ.
Json noise_json(const Setup& setup, const Told& told) {
  constexpr int kPairs = 20;
  Session session(setup.model, {});
  const RunOptions dense{.dense = true, .record_masks = false};
  const std::vector<Turns> turns = run_in_turn({{"noise", &session, dense}, {"noise", &session, dense}},
                                               {setup.photographs.front().cropped}, kPairs, told);
  std::vector<double> differences;
  for (const double ratio : ratios(turns[0].ms, turns[1].ms)) differences.push_back(std::abs(ratio - 1));
  return {{"pairs", kPairs}, {"median", median(differences)}, {"dense_ms", quartiles_json(turns[0].ms)}};
}

}  // namespace

Json measure_machine(const Setup& setup, const Told& told) {
  constexpr double kPeakSeconds = 0.2;
  const Isa isa = available_isas().back();
  const CpuHardware machine = this_machine(isa);
  const auto quota = cpu_quota();
  Json noise = noise_json(setup, told);
  return {{"command", "lasnet info --json"},
          {"date", date_now()},
          {"processor", processor_name()},
          {"cores", physical_cores()},
          {"processors", logical_processors()},
          {"quota", quota ? Json(*quota) : Json(nullptr)},
          {"features", processor_features()},
          {"isa", to_string(isa)},
          {"l1_kib", machine.l1_kib},
          {"l2_kib", machine.l2_kib},
          {"l3_kib", machine.l3_kib},
          {"peak_gflops", 1e-9 * fma_peak_flops(isa, kPeakSeconds)},
          {"version", version()},
          {"compiler", LASNET_COMPILER},
          {"onednn", static_cast<bool>(LASNET_HAS_ONEDNN)},
          {"profile", describe(setup.host)},
          {"profile_source", setup.host.source},
          {"noise", std::move(noise)}};
}

}  // namespace lasnet::cli
