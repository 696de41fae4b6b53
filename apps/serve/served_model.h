// A model that is being served: what requests need to know of it. Immutable; a reload makes another.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "http.h"
#include "lasnet/engine.h"
#include "lasnet/hardware.h"
#include "lasnet/model.h"

namespace lasnet::serve {

/// The only version of every model.
inline constexpr const char* kModelVersion = "1";

/// Under which name a file is served.
struct ModelSource {
  std::string name;
  std::string path;
};
/// "NAME=FILE" or "FILE", whose name is then its stem. Throws Error on a name that has other characters than
/// letters, digits, '.', '_' and '-'.
ModelSource parse_model_source(const std::string& text);

/// What an output holds.
enum class OutputKind { logits, probabilities, classes, scores, macs_ratio, rates, mask, density, heat_map };
struct OutputSpec {
  std::string name;
  OutputKind kind = OutputKind::logits;
  std::string datatype;
  Shape shape;       ///< -1: any, N first
  size_t block = 0;  ///< of a mask
};

/// Predicting which thresholds meet a time takes as long as a run, so answers are kept. From any thread.
class BudgetCache {
 public:
  struct Key {
    double budget_ms = 0;
    MapSize size = {};
    int threads = 1;
    auto operator<=>(const Key& other) const {
      return std::tie(budget_ms, size.height, size.width, threads) <=>
             std::tie(other.budget_ms, other.size.height, other.size.width, other.threads);
    }
    bool operator==(const Key&) const = default;
  };
  /// What was computed for the key, or is now. One thread at a time computes.
  std::vector<float> get(const Key& key, const std::function<std::vector<float>()>& compute);

 private:
  static constexpr size_t kMaxKept = 256;
  std::mutex mutex_;
  std::map<Key, std::vector<float>> kept_;
};

struct ServedModel {
  std::string name;
  Model model;  ///< without its weights
  std::shared_ptr<const Executable> executable;
  std::vector<OutputSpec> outputs;          ///< that requests can name
  std::optional<HardwareProfile> hardware;  ///< that budgets of time are for; nothing where none is known
  std::shared_ptr<BudgetCache> budgets;

  /// Its spec's dynamic blocks, by index.
  std::vector<size_t> dynamic_blocks() const;
  /// Height and width of every image's input; nothing where images keep their own size.
  std::optional<MapSize> image_size() const;
  /// That, or what a square image becomes.
  MapSize usual_size() const;
};

/// Reads and compiles a model. Throws Error on a file that is no model or has no classifier.
std::shared_ptr<const ServedModel> load_served_model(const ModelSource& source,
                                                     const SessionOptions& session);
/// The same of a model in memory.
std::shared_ptr<const ServedModel> make_served_model(const std::string& name, Model model,
                                                     const SessionOptions& session);

/// Name, versions, inputs and outputs, as the protocol has it.
Json metadata_of(const ServedModel& model);
/// Triton's model configuration, as far as clients ask for it.
Json config_of(const ServedModel& model, int max_images);
/// What the page needs beside that: classes, blocks, operating points.
Json description_of(const ServedModel& model);

}  // namespace lasnet::serve
