// Holding the latency model to measurements: predicted against measured blocks and networks, and whether the
// model's choices are the ones that measurements would make (method: MAPE, Spearman, regret).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "calibrate/fit.h"
#include "calibrate/measure.h"
#include "engine/hardware_facts.h"

namespace lasnet {

/// Rank correlation of Spearman, equal values sharing their mean rank; 1 for fewer than two points.
double spearman(const std::vector<double>& a, const std::vector<double>& b);

/// A block that ran.
struct ValidationPoint {
  std::string network;
  int stage = 0;
  int granularity = 0;   ///< 0: static
  std::string schedule;  ///< that ran
  double rate = 1;       ///< of its patches
  int64_t batch = 1;
  int threads = 1;
  Precision precision = Precision::fp32;
  double measured_s = 0, predicted_s = 0;
  double noise = 0;  ///< relative difference of two measurements
};

/// Options for the identity blocks of one stage at one rate of independent patches, expected times of each;
/// or for a whole network.
struct Choice {
  struct Option {
    std::string name;  ///< e.g. "S 4", "gather=copied"
    double measured_s = 0, predicted_s = 0;
  };
  int stage = 0;
  double rate = 0;
  std::vector<Option> options;
  size_t chosen = 0;  ///< what the model takes

  /// Index of the option with the least measured time.
  size_t best() const;
  /// Time of an option over that of the best, minus 1.
  double regret(size_t option) const { return options[option].measured_s / options[best()].measured_s - 1; }
  /// Spearman's, of predicted and measured times over the options.
  double rank_correlation() const;
};

/// A whole network, dynamic beside static.
struct NetworkComparison {
  std::string network;
  std::string granularity = {};  ///< S per stage
  int64_t batch = 1;
  int threads = 1;
  Precision precision = Precision::fp32;
  MaskerSchedule masker = MaskerSchedule::incremental;
  double rate = 0;
  double measured_static_s = 0, measured_dynamic_s = 0;
  double predicted_static_s = 0, predicted_dynamic_s = 0;

  double measured_speedup() const { return measured_static_s / measured_dynamic_s; }
  double predicted_speedup() const { return predicted_static_s / predicted_dynamic_s; }
  double speedup_error() const { return predicted_speedup() / measured_speedup() - 1; }
  double dynamic_error() const { return predicted_dynamic_s / measured_dynamic_s - 1; }
};

struct Validation {
  std::vector<ValidationPoint> points;  ///< dynamic and static blocks
  std::vector<Choice> granularities;    ///< between every S, default schedule
  std::vector<Choice> schedules;        ///< between the schedules of one S; the first is the default
  std::vector<Choice> everything;       ///< between all pairs of S and schedule
  std::vector<NetworkComparison> networks;
  double noise = 0;                  ///< median over the points
  std::vector<std::string> skipped;  ///< what could not run, and why
};

/// Errors of the dynamic points whose network's name begins with `prefix`, where at least this share of the
/// patches is active. A block with next to nothing to do takes microseconds, and relative errors of these
/// say little.
inline constexpr double kMinRate = 0.05;
FitQuality quality_of(const std::vector<ValidationPoint>& points, const std::string& prefix);

/// Mean absolute error of the dynamic points below kMinRate, in seconds, and of their measured times.
struct IdleQuality {
  size_t points = 0;
  double error_s = 0, measured_s = 0;
};
IdleQuality idle_quality(const std::vector<ValidationPoint>& points);

/// Regrets of the model's choices, and of the fixed option (per stage, for all its choices) that has the
/// least.
struct Regret {
  double chosen_mean = 0, chosen_max = 0, fixed_mean = 0;
};
Regret regret_of(const std::vector<Choice>& choices);

struct ValidationOptions {
  int repeat = 8;      ///< of each run
  bool quick = false;  ///< one small network and a coarse grid
  uint64_t seed = 1;
};

/// Told the share that is done and what runs now.
using ValidationProgress = std::function<void(double share, const std::string& now)>;

/// Runs networks at their usual sizes, none of which a calibration uses, on this machine.
Validation validate_cpu(const CpuHardware& hardware, const ValidationOptions& options,
                        const ValidationProgress& progress);

/// Every S of one network in its usual schedule.
struct GranularityStudy {
  ArchConfig arch;            ///< its granularity is ignored
  MapSize size = {224, 224};  ///< of the images
  std::vector<int> granularities = {1, 2, 4, 7, 8};
  int repeat = 8;  ///< of each run
  uint64_t seed = 1;
};

/// The choice of S alone: the result's points, granularities and noise.
Validation validate_granularities(const CpuHardware& hardware, const GranularityStudy& study,
                                  const ValidationProgress& progress);

struct CudaValidationOptions {
  std::vector<std::string> networks = {"resnet50", "resnet101", "regnet_y_400mf"};
  double width = 1;
  MapSize size = {224, 224};
  std::vector<int64_t> batches = {1, 8, 128};  ///< those that device memory has no room for are skipped
  std::vector<Precision> precisions = {Precision::fp32, Precision::fp16};
  std::vector<std::vector<int>> granularities = {{4, 4, 2, 1}, {8, 4, 7, 1}, {1, 1, 1, 1}};
  std::vector<MaskerSchedule> maskers = {MaskerSchedule::separate, MaskerSchedule::incremental};
  std::vector<double> rates = {0.25, 0.5, 0.75};
  int repeat = 3;  ///< of each run
  uint64_t seed = 1;
};

/// Runs networks with the cuda backend, which chooses tiles by `hardware`, under random masks. Networks run
/// as graphs, blocks are launched one by one.
///
/// `granularities` of the result compare whole networks: an entry for each network, masker, batch, precision
/// and rate. `schedules` compare maskers: an entry for each network, granularity, batch, precision and rate.
/// `hardware` is of the kind cuda. Throws Error without a device.
Validation validate_cuda(const HardwareProfile& hardware, const CudaValidationOptions& options,
                         const ValidationProgress& progress);

}  // namespace lasnet
