// Dense, sparse and other libraries' networks, by threads and batch; speed-up against density; accuracy.
#include <fmt/format.h>

#include <algorithm>

#include "accuracy.h"
#include "bench_run.h"
#include "parts.h"
#include "predict/break_even.h"

namespace lasnet::cli {
namespace {

const std::vector<double> kDensities = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0};

BenchOptions own_masks(const Setup& setup) {
  BenchOptions options;
  options.model.path = setup.options.model;
  options.images = setup.options.images;
  if (setup.model.preprocessing.crop == 0) options.size = setup.size;
  return options;
}

/// Without `blocks` and `stages`, which have a part of their own.
Json run_json(const BenchReport& report) {
  Json json = to_json(report);
  json.erase("blocks");
  json["batch"] = report.batch;
  json["dense"]["quartiles_ms"] = quartiles_json(report.measured.dense_ms);
  json["sparse"]["quartiles_ms"] = quartiles_json(report.measured.sparse_ms);
  if (!json["baseline"].is_null())
    json["baseline"]["quartiles_ms"] = quartiles_json(report.measured.baseline_ms);
  return json;
}

Json density_json(const Setup& setup, double rate) {
  BenchOptions options = own_masks(setup);
  options.rate = rate;
  options.repeat = setup.repetitions.density;
  resolve(options);
  const BenchReport report = bench(options, [](const Measurements&) {});
  return {{"rate", rate},
          {"macs_ratio", report.mean_macs_ratio()},
          {"dense_ms", median(report.measured.dense_ms)},
          {"sparse_ms", median(report.measured.sparse_ms)},
          {"speedup", report.speedup()},
          {"theory_speedup", report.theory_speedup()}};
}

std::vector<int> thread_counts(const Setup& setup) {
  if (setup.threads == 1) return {1};
  return {1, setup.threads};
}

}  // namespace

Json measure_speed(const Setup& setup, const Told& told) {
  struct Run {
    int threads;
    int64_t batch;
    int repeat;
  };
  const Repetitions& r = setup.repetitions;
  std::vector<Run> wanted;
  double work = 0, done = 0;  // batches of images
  for (const int threads : thread_counts(setup)) {
    for (const auto& [batch, repeat] : {std::pair{int64_t{1}, r.bench}, std::pair{r.batch, r.large_batch}}) {
      wanted.push_back({threads, batch, repeat});
      work += static_cast<double>(batch * repeat);
    }
  }
  const double densities = static_cast<double>(kDensities.size()) * r.density;
  work += densities;
  Json runs = Json::array();
  for (const Run& run : wanted) {
    BenchOptions options = own_masks(setup);
    options.batch = static_cast<int>(run.batch);
    options.repeat = run.repeat;
    options.session.threads = run.threads;
    if (LASNET_HAS_ONEDNN) options.baseline = BaselineKind::onednn;
    resolve(options);
    const std::string now =
        fmt::format("{} thread{}, batch {}", run.threads, run.threads == 1 ? "" : "s", run.batch);
    runs.push_back(run_json(bench(options, [&](const Measurements& m) {
      told((done + static_cast<double>(m.dense_ms.size()) * static_cast<double>(run.batch)) / work, now);
    })));
    done += static_cast<double>(run.batch * run.repeat);
  }
  Json density = Json::array();
  std::vector<double> speedups;
  for (const double rate : kDensities) {
    density.push_back(density_json(setup, rate));
    speedups.push_back(density.back()["speedup"].get<double>());
    done += r.density;
    told(done / work, fmt::format("density {:.1f}", rate));
  }
  return {{"command", runs[0]["reproduce"]},
          {"runs", runs},
          {"density", density},
          {"density_command", fmt::format("lasnet bench {} --images {} --rate R --repeat {}",
                                          setup.options.model, setup.options.images, r.density)},
          {"break_even", break_even(kDensities, speedups)},
          {"accuracy", accuracy_json(setup)}};
}

}  // namespace lasnet::cli
