// What `lasnet predict`, `lasnet search` and `lasnet train --granularity auto` share: which network, on which
// hardware.
#pragma once

#include <optional>
#include <string>

#include "lasnet/latency.h"
#include "model_options.h"
#include "session_options.h"

namespace lasnet::cli {

/// The name of this machine's GPU as hardware.
inline constexpr const char* kHostGpu = "cuda";

struct LatencyOptions {
  ModelOptions model;
  std::string hardware;  ///< name, file, "" for this machine's CPU, or kHostGpu
  std::optional<int> batch;
  std::optional<int> threads;
  std::optional<MapSize> size;
  std::optional<double> rate;
  LatencyQuery query;  ///< the rest
  bool json = false;
};

/// MODEL and its description, --hardware, --batch, --threads, --size, --rate, --precision, --model,
/// --schedule,
/// --json.
void add_latency_options(CLI::App& app, LatencyOptions& options);

/// --hardware NAME|FILE.
void add_hardware_option(CLI::App& app, std::string& hardware);

/// --precision fp32|int8: of the CPU kernels that are measured.
void add_kernel_precision(CLI::App& app, Precision& precision);

/// The profile that is named, or of this machine's kernels of that precision, fp32 or int8. Warns where it is
/// not of this machine, though it should be. Throws UsageError on an unknown name, Error on a file that is no
/// profile.
HardwareProfile open_hardware(const std::string& name, std::optional<Isa> isa = std::nullopt,
                              Precision precision = Precision::fp32);

/// The query for this hardware: its batch and the model's size unless the options say otherwise. Warns of
/// options that mean nothing there. Throws UsageError on what the hardware cannot answer.
LatencyQuery resolve_query(const LatencyOptions& options, const HardwareProfile& hardware);

/// Of the images: a model file's crop, else ImageNet's.
MapSize usual_size(const ModelOptions& model);

/// Whether the profile holds times of this library's kernels.
bool is_measured(const HardwareProfile& hardware);
/// "  profile      published: ...", and in a second line what a profile that is not measured says nothing of.
std::string profile_lines(const HardwareProfile& hardware);
/// "Tesla V100 (v100)".
std::string describe(const HardwareProfile& hardware);

}  // namespace lasnet::cli
