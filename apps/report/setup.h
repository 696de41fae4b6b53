// What a report is about, read and checked before anything is measured.
#pragma once

#include <string>
#include <vector>

#include "lasnet/hardware.h"
#include "lasnet/image.h"
#include "lasnet/model.h"
#include "measuring.h"
#include "report_options.h"

namespace lasnet::cli {

/// A photograph that the report shows.
struct Photograph {
  std::string name;  ///< of the file, without its folder
  Image shown;       ///< all of it, at its own resolution or as large as pictures get
  Tensor whole;      ///< all of it, as the network sees it
  MapSize seen;      ///< of `whole`
  Tensor cropped;    ///< the part that the network usually sees, of its usual size
};

struct Setup {
  ReportOptions options;
  Repetitions repetitions;
  Model model;
  MapSize size;          ///< that the network usually sees
  std::string resolved;  ///< the instruction set's name
  int threads = 1;       ///< the most that are measured
  std::vector<Photograph> photographs;
  size_t found = 0;         ///< photographs in the folder
  ImageFolder labelled;     ///< without items where the folder has no classes
  std::vector<Json> peers;  ///< recorded comparisons with other engines
  HardwareProfile host;     ///< this machine's
  std::vector<HardwareProfile> others;
  Json sweep;  ///< as read_recorded_sweep reads it; null without one
  /// Of everything that a measurement depends on: parts of an earlier report with another one are measured
  /// again.
  std::string key;

  bool has_labels() const { return !labelled.items.empty(); }
  /// Inputs of all photographs, cropped.
  std::vector<Tensor> inputs() const;
};

/// Throws UsageError or Error, naming what is wrong, on everything that a report cannot be made of: a static
/// model, one without a classifier, unknown hardware, a folder without images, classes that are not the
/// model's.
Setup prepare(const ReportOptions& options);

}  // namespace lasnet::cli
