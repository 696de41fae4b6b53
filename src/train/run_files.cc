#include "train/run_files.h"

#include <filesystem>

#include "core/fail.h"
#include "core/file.h"
#include "core/names.h"
#include "train/config.h"

namespace lasnet {

RunFiles::RunFiles(std::string directory) : directory_(std::move(directory)) {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error) fail("{}: cannot create the output directory: {}", directory_, error.message());
  check_writable(checkpoint());
}

void RunFiles::remove_half_written() const {
  for (const std::string& file : {checkpoint(), static_model(), control_model(), dynamic_model(), log()})
    lasnet::remove_half_written(file);
}

void RunFiles::forget_position() const {
  std::error_code error;
  std::filesystem::remove(checkpoint(), error);
  if (error) fail("{}: cannot be removed: {}", checkpoint(), error.message());
}

void check_resumable(const Checkpoint& checkpoint, const nlohmann::json& recipe,
                     const std::vector<std::string>& classes, int64_t train_images,
                     const std::string& origin) {
  for (const auto& [key, value] : recipe.items()) {
    nlohmann::json before = checkpoint.recipe.value(key, nlohmann::json());
    if (before != value) {
      fail("{}: the run was started with {} {}, now it is {}; a run can only be resumed unchanged", origin,
           option_name(key), before.dump(), value.dump());
    }
  }
  if (checkpoint.classes != classes || checkpoint.train_images != train_images) {
    fail(
        "{}: the run was started on other data: {} classes and {} training images, now {} and {}; classes "
        "that "
        "are gone: {}; new ones: {}",
        origin, checkpoint.classes.size(), checkpoint.train_images, classes.size(), train_images,
        some_of(missing_from(checkpoint.classes, classes)),
        some_of(missing_from(classes, checkpoint.classes)));
  }
}

void write_log_csv(const std::vector<EpochInfo>& history, const std::vector<std::string>& blocks,
                   const std::string& path) {
  std::string text =
      "phase,epoch,lr,gumbel_temperature,train_loss,train_top1,val_loss,val_top1,val_top5,macs_ratio,macs_"
      "ratio_std,"
      "seconds";
  for (const std::string& block : blocks) text += ",r_" + block;
  text += '\n';
  for (const EpochInfo& info : history) {
    const Evaluation& val = info.validation;
    text +=
        fmt::format("{},{},{:.6g},{:.4g},{:.5f},{:.5f},{:.5f},{:.5f},{:.5f},{:.5f},{:.5f},{:.1f}", info.phase,
                    info.epoch, info.lr, info.gumbel_temperature, info.train_loss, info.train_top1, val.loss,
                    val.top1, val.top5, val.macs_ratio, val.macs_ratio_std, info.seconds);
    for (size_t i = 0; i < blocks.size(); ++i) {
      text += val.rates.empty() ? std::string(",") : fmt::format(",{:.5f}", val.rates[i]);
    }
    text += '\n';
  }
  write_file_atomically(path, [&](std::ostream& out) { out << text; });
}

}  // namespace lasnet
