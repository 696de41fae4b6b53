#include "train/agreement.h"

#include <torch/version.h>

#include "base/fail.h"
#include "lasnet/version.h"
#include "train/config.h"
#include "train/digest.h"
#include "train/file_list.h"
#include "train/record.h"

namespace lasnet {
namespace {

/// Where each process runs, and what rank 0 alone uses.
constexpr std::array kOwn = {"data",
                             "output",
                             "init",
                             "teacher",
                             "threads",
                             "device",
                             "overwrite",
                             "hardware",
                             "checkpoint_minutes",
                             "checkpoint_steps",
                             "keep_checkpoints",
                             "cache_bytes",
                             "workers",
                             "tensorboard"};

/// Calls differs(rank, key, of rank 0, of that rank) for the first fact that is not rank 0's.
template <typename Differs>
void compare(World& world, const nlohmann::json& facts, const Differs& differs) {
  std::vector<nlohmann::json> all;
  for (const std::string& text : world.gather(to_text(facts))) all.push_back(nlohmann::json::parse(text));
  for (int rank = 1; rank < world.size(); ++rank) {
    const nlohmann::json& theirs = all[static_cast<size_t>(rank)];
    for (const auto& [key, value] : all[0].items()) {
      const nlohmann::json other = theirs.value(key, nlohmann::json());
      if (other != value) differs(rank, key, value, other);
    }
  }
}

std::string without_prefix(const nlohmann::json& digest) {
  const auto text = digest.get<std::string>();
  return text.empty() ? "none" : "SHA-256 " + text.substr(0, 12);
}

}  // namespace

void check_same_program(World& world) {
  const nlohmann::json facts = {{"lasnet", version()}, {"libtorch", TORCH_VERSION}};
  compare(world, facts, [](int rank, const std::string& key, const auto& ours, const auto& theirs) {
    fail("rank {} runs {} {}, rank 0 {}; start the same program everywhere", rank, key, to_text(theirs),
         to_text(ours));
  });
}

void check_same_settings_everywhere(World& world, const TrainConfig& config, const RunInputs& inputs) {
  nlohmann::json settings = to_json(config);
  for (const char* key : kOwn) settings.erase(key);
  compare(world, settings, [](int rank, const std::string& key, const auto& ours, const auto& theirs) {
    fail("rank {} was started with {} {}, rank 0 with {}; start all processes with the same settings", rank,
         setting_name(key), to_text(theirs), to_text(ours));
  });
  const nlohmann::json files = {{"init", inputs.init}, {"teacher", inputs.teacher}};
  compare(world, files, [](int rank, const std::string& key, const auto& ours, const auto& theirs) {
    fail("rank {} has another file for {} ({}) than rank 0 ({}); give all processes copies of one file", rank,
         setting_name(key), without_prefix(theirs), without_prefix(ours));
  });
}

void check_same_data_everywhere(World& world, const RunData& data) {
  const nlohmann::json facts = {{"images", digest_of(without_times(data.files))},
                                {"training images", data.train_images}};
  bool same = true;
  compare(world, facts, [&](int, const std::string&, const auto&, const auto&) { same = false; });
  if (same) return;
  const std::vector<std::string> lists = world.gather(data.files);
  compare(world, facts, [&](int rank, const std::string& key, const auto& ours, const auto& theirs) {
    const ListDifference difference = compare_lists(lists[0], lists[static_cast<size_t>(rank)]);
    fail("rank {} has other images than rank 0: {}; give all processes the same {}", rank,
         difference.content.empty() ? fmt::format("{} {} instead of {}", to_text(theirs), key, to_text(ours))
                                    : difference.content,
         setting_name("data"));
  });
}

std::optional<FoundCheckpoint> broadcast(World& world, std::optional<FoundCheckpoint> found) {
  if (world.size() == 1) return found;
  nlohmann::json text;
  if (found) {
    text = {{"path", found->path}, {"problem", found->problem}, {"facts", facts_of(found->checkpoint)}};
  }
  text = nlohmann::json::parse(world.broadcast(to_text(text)));
  if (text.is_null()) return std::nullopt;
  if (!found) {
    found.emplace();
    found->path = text["path"];
    found->problem = text["problem"];
    found->checkpoint = checkpoint_from(Record(text["facts"], found->path));
  }
  found->checkpoint.weights = world.broadcast(std::move(found->checkpoint.weights));
  found->checkpoint.momentum = world.broadcast(std::move(found->checkpoint.momentum));
  return found;
}

}  // namespace lasnet
