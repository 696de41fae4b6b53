// What the networks of a sweep come to: a document of rows, and the table, the file and the plots of it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "output.h"
#include "train/train.h"

namespace lasnet::cli {

/// One network, on the validation images.
struct SweepRow {
  std::string kind;  ///< "dynamic", "static", "control" or "smaller": the static one on fewer pixels
  std::string name;  ///< of the run
  std::string granularity = {};                       ///< of a dynamic one
  std::optional<double> target = {}, budget_ms = {};  ///< what it was trained for
  std::optional<uint64_t> seed = {};
  int size = 0;  ///< of the images, px
  Evaluation evaluation = {};
  std::optional<double> measured_ms = {};           ///< a run on this machine
  std::map<std::string, double> predicted_ms = {};  ///< by hardware: its usual batch
  std::map<std::string, double> top1_with = {};     ///< by whose masks
};

struct SweepResults {
  Json plan;
  std::string processor;    ///< that times were measured on
  std::string measured_on;  ///< batches, threads
  std::vector<SweepRow> rows;
};

Json to_json(const SweepRow& row);
/// The same back, of this program's own documents.
SweepRow row_from(const Json& json);
Json to_json(const SweepResults& results);
/// One line for each row of the document, with the same values.
std::string to_csv(const Json& document);
std::string to_text(const Json& document);
/// DIR/sweep.json, sweep.csv and sweep.svg, each whole or not at all.
void write_results(const Json& document, const std::string& dir);

}  // namespace lasnet::cli
