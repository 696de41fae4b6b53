// On which kernels a command runs.
#pragma once

#include <optional>
#include <string>

#include "cli.h"
#include "lasnet/engine.h"
#include "lasnet/model.h"
#include "output.h"

namespace lasnet::cli {
/// --backend, --precision, --isa, --threads. `threads` by default; 0: default_threads().
void add_session_options(CLI::App& app, SessionOptions& options, int threads);
/// Throws Error if a run of this size needs more memory than there is: to be asked before its inputs are
/// made.
void check_run_memory(const Session& session, MapSize size, int64_t batch);
/// Bands are rows of patches, which a map of one patch (--granularity layer) does not have. Throws UsageError
/// where that leaves no block with bands, and warns where it leaves some.
void check_row_bands(const ModelSpec& spec, std::optional<Traversal> asked);
/// A session of the model, once check_row_bands has seen the schedule.
Session open_session(const Model& model, const SessionOptions& options);
/// `schedule`, once a warning has said which of its names are former ones.
const std::string& warn_of_former_names(const std::string& schedule);
/// --check-finite, for RunOptions.
void add_check_finite_flag(CLI::App& app, bool& check);
/// What computes.
struct Kernels {
  Backend backend = Backend::cpu;
  Isa isa = Isa::scalar;
  Precision precision = Precision::fp32;
  int threads = 1;
};
/// Throws Error, with the reason and what can be done `instead`, where there is no CUDA device.
void require_cuda_device(const std::string& asked_by, const std::string& instead);
/// "cpu avx2, 1 thread"; "cuda fp16, NVIDIA H100".
std::string describe_kernels(const Kernels& kernels);
std::string describe(const Session& session);
/// "resnet18 x0.5, S 4-4-2-1".
std::string describe(const ArchConfig& arch);

/// {"name", "width", "classes", "stem", "granularity"}, and "se_pool" of a network that has one.
Json arch_json(const ModelSpec& spec);

}  // namespace lasnet::cli
