#include "session_options.h"

#include <algorithm>
#include <mutex>

#include "base/fail.h"
#include "base/processors.h"
#include "engine/executable.h"
#include "log.h"
#include "machine.h"

namespace lasnet::cli {
namespace {

constexpr const char* kEngineGroup = "Engine";

/// Threads beyond the processors wait for each other at the end of every convolution.
void warn_of_threads(const std::string& text) {
  const long threads = std::strtol(text.c_str(), nullptr, 10);
  const int usable = usable_processors();
  if (threads <= usable) return;
  log_warning(
      fmt::format("--threads {}: this process may use {} processor{}, and more threads than that only "
                  "wait for each other",
                  threads, usable, usable == 1 ? "" : "s"));
}

/// Refuses combinations without meaning, and says what has none.
void check_session_options(const SessionOptions& options) {
  // An Error names the field, which is the option.
  as_usage([&] { check_backend_options(options.backend, options.isa, options.precision); }, "--");
  if (options.backend == Backend::cuda && options.schedule &&
      options.schedule->traversal == Traversal::row_bands) {
    log_warning("--schedule traversal=row_bands: the cuda backend traverses whole maps only");
  }
}

}  // namespace

void add_session_options(CLI::App& app, SessionOptions& options, int threads) {
  options.threads = threads > 0 ? threads : default_threads();
  add_parsed(app, "--backend",
             "cpu (sparse kernels, the default), cuda (the same on a GPU) or reference (plain loops)",
             [&](const std::string& text) { options.backend = parse_backend(text); })
      ->group(kEngineGroup);
  add_parsed(app, "--precision",
             "fp32 (the default); of the cpu backend also int8, for a model that `lasnet quantize` made; of "
             "the cuda backend also tf32, fp16 or bf16",
             [&](const std::string& text) { options.precision = parse_precision(text); })
      ->group(kEngineGroup);
  add_parsed(app, "--isa",
             "Of the cpu backend: scalar, avx2, avx512 or neon; default: the fastest that this machine has",
             [&](const std::string& text) { options.isa = parse_isa(text); })
      ->group(kEngineGroup);
  add_parsed(
      app, "--schedule",
      "How blocks are executed, as KEY=CHOICE,...: masker=separate|incremental|with_conv1, "
      "gather=indirect|copied, scatter=in_place|separate, traversal=whole_map|row_bands, "
      "whole_map_above=R. Default: chosen for each block. Results differ by rounding at most",
      [&](const std::string& text) { options.schedule = parse_block_schedule(warn_of_former_names(text)); })
      ->group(kEngineGroup);
  add_number(app, "--threads", options.threads, 1, 1024, "Threads")
      ->group(kEngineGroup)
      ->each(warn_of_threads);
  app.parse_complete_callback([&options] { check_session_options(options); });
}

void check_run_memory(const Session& session, MapSize size, int64_t batch) {
  try {
    session.check_memory(size, batch);
  } catch (const Error& error) {
    fail("{} (--batch, --size)", error.what());
  }
}

void check_row_bands(const ModelSpec& spec, std::optional<Traversal> asked) {
  if (asked != Traversal::row_bands) return;
  const auto count = [&](auto&& holds) { return std::ranges::count_if(spec.blocks, holds); };
  const auto dynamic = count([](const BlockSpec& block) { return block.is_dynamic(); });
  const auto skipping = count([](const BlockSpec& block) { return block.skips_whole_maps(); });
  if (skipping == 0) return;
  const std::string problem =
      "--schedule traversal=row_bands: a block of granularity layer has no bands of patches";
  if (skipping == dynamic) throw UsageError(problem + ", and the network has no other dynamic blocks");
  log_warning(fmt::format("{}; {} of {} dynamic blocks run the whole map", problem, skipping, dynamic));
}

Session open_session(const Model& model, const SessionOptions& options) {
  if (options.schedule) check_row_bands(model.spec, options.schedule->traversal);
  return Session(model, options);
}

const std::string& warn_of_former_names(const std::string& schedule) {
  static std::once_flag said;
  if (schedule.find("masker=pooled") != std::string::npos) {
    std::call_once(said, [] { log_warning("--schedule masker=pooled is called masker=incremental now"); });
  }
  return schedule;
}

void add_check_finite_flag(CLI::App& app, bool& check) {
  app.add_flag("--check-finite", check, "Stop at the first layer that gives NaN or infinity, and name it")
      ->group("Engine");
}

void require_cuda_device(const std::string& asked_by, const std::string& instead) {
  if (cuda_devices().empty()) fail("{}: {}; {}", asked_by, cuda_unavailable_reason(), instead);
}

std::string describe_kernels(const Kernels& kernels) {
  if (kernels.backend == Backend::cuda) {
    const auto devices = cuda_devices();
    return fmt::format("cuda {}, {}", to_string(kernels.precision),
                       devices.empty() ? "no device" : devices[0].name);
  }
  const std::string precision =
      kernels.precision == Precision::fp32 ? "" : to_string(kernels.precision) + " ";
  return fmt::format("{} {}{}, {} thread{}", to_string(kernels.backend), precision, to_string(kernels.isa),
                     kernels.threads, kernels.threads == 1 ? "" : "s");
}

std::string describe(const Session& session) {
  return describe_kernels({session.backend(), session.isa(), session.precision(), session.threads()});
}

std::string describe(const ArchConfig& arch) {
  std::string text = arch.name;
  if (arch.width != 1) text += fmt::format(" x{:g}", arch.width);
  if (arch.dilated_stages > 0)
    text += fmt::format(", {} dilated stage{}", arch.dilated_stages, arch.dilated_stages == 1 ? "" : "s");
  return text + (arch.is_dynamic() ? ", S " + granularity_to_string(arch.granularity) : ", static");
}

Json arch_json(const ModelSpec& spec) {
  const ArchConfig& arch = spec.arch;
  Json json = {{"name", arch.name},
               {"width", arch.width},
               {"classes", arch.classes},
               {"stem", to_string(arch.stem)},
               {"granularity", granularity_to_string(arch.granularity)}};
  const bool pools = std::any_of(spec.blocks.begin(), spec.blocks.end(),
                                 [](const BlockSpec& block) { return block.squeeze_excite.has_value(); });
  if (pools) json["se_pool"] = to_string(arch.se_pool);
  if (arch.dilated_stages > 0) json["dilated_stages"] = arch.dilated_stages;
  return json;
}

}  // namespace lasnet::cli
