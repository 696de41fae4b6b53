// The command line of `lasnet bench`.
#pragma once

#include <optional>
#include <string>

#include "image_options.h"
#include "lasnet/engine.h"
#include "map_options.h"
#include "model_options.h"
#include "operating_options.h"

namespace lasnet::cli {

enum class BaselineKind { none, onednn };

/// Who decides which patches are active: the maskers, or chance.
enum class BenchMasks { own, random };

struct BenchOptions {
  ModelOptions model;  ///< `path` is a model file or the name of an architecture
  SessionOptions session;
  std::optional<double> rate;  ///< of random patch masks
  /// MAC ratio that decides the rate of random masks; or, once resolved, `operating.macs`.
  std::optional<double> macs;
  std::optional<BenchMasks> masks;  ///< unless what else is said decides
  OperatingOptions operating;       ///< of own masks
  std::optional<MapSize> size;      ///< of the input; default the model's
  int batch = 1;
  int repeat = 20;
  uint64_t seed = 0;
  BaselineKind baseline = BaselineKind::none;
  bool features = false;  ///< dense and sparse runs return maps, as a detector's backbone does
  MapOptions maps;
  std::string images;  ///< folder; empty: random inputs
  ImageOptions decode;
  std::string sweep;  ///< folder for CSV and SVG of speed-up against density; empty: one measurement
  std::string save;   ///< file for the network that is measured; empty: none
  bool json = false;

  bool is_architecture() const;
};

void add_bench_options(CLI::App& app, BenchOptions& options);

/// Fills in what depends on other options, and refuses combinations without meaning. Throws UsageError.
void resolve(BenchOptions& options);

/// The whole command line that measures the same again, `isa` being the instruction set that ran.
std::string reproduce(const BenchOptions& options, Isa isa, MapSize size);

}  // namespace lasnet::cli
