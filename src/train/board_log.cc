#include "train/board_log.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/fail.h"
#include "train/checkpoint.h"
#include "train/config.h"

namespace lasnet {

std::vector<Scalar> scalars_of(const EpochInfo& info, const std::vector<std::string>& blocks) {
  const Evaluation& validation = info.validation;
  std::vector<Scalar> scalars = {{"loss/total", info.train_loss},
                                 {"loss/classification", info.train_losses.classification},
                                 {"loss/validation", validation.loss},
                                 {"accuracy/train_top1", info.train_top1},
                                 {"accuracy/top1", validation.top1},
                                 {"accuracy/top5", validation.top5},
                                 {"schedule/learning_rate", info.lr},
                                 {"speed/images_per_s", info.images_per_s},
                                 {"speed/share_waiting_for_images", info.images.waiting_share(info.seconds)}};
  if (info.train_losses.distillation > 0)
    scalars.push_back({"loss/distillation", info.train_losses.distillation});
  if (info.train_losses.features > 0) scalars.push_back({"loss/features", info.train_losses.features});
  if (info.images.decoded > 0)
    scalars.push_back({"speed/decoded_images_per_s_and_core", info.images.decoded_per_core_s()});
  if (validation.rates.empty()) return scalars;
  scalars.insert(scalars.end(), {{"loss/budget", info.train_losses.budget},
                                 {"macs/train", info.train_macs_ratio},
                                 {"macs/validation", validation.macs_ratio},
                                 {"macs/deviation_over_images", validation.macs_ratio_std},
                                 {"schedule/gumbel_temperature", info.gumbel_temperature}});
  for (size_t i = 0; i < validation.rates.size(); ++i)
    scalars.push_back({"rate/" + blocks.at(i), validation.rates[i]});
  return scalars;
}

std::string settings_table(const TrainConfig& config) {
  std::string table = "| setting | value |\n|---|---|\n";
  const nlohmann::json recipe = recipe_json(config);
  for (const auto& [key, value] : recipe.items()) table += fmt::format("| {} | {} |\n", key, to_text(value));
  return table;
}

void BoardLog::add(const EpochInfo& info) {
  file_of(info).add_scalars(info.epoch, scalars_of(info, blocks_));
}

EventFile& BoardLog::file_of(const EpochInfo& info) {
  const auto found = files_.find(info.phase);
  if (found != files_.end()) return found->second;
  EventFile& file = files_.try_emplace(info.phase, folder_ + "/" + info.phase, info.epoch).first->second;
  file.add_text(info.epoch, "settings", settings_);
  return file;
}

void remove_board_logs(const std::string& folder) {
  for (const char* phase : kPhaseOrder) {
    std::error_code error;
    std::filesystem::remove_all(folder + "/" + phase, error);
    if (error) fail("{}/{}: cannot be removed: {}", folder, phase, error.message());
  }
}

}  // namespace lasnet
