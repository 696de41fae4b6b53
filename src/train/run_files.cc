#include "train/run_files.h"

#include <algorithm>
#include <filesystem>

#include "base/fail.h"
#include "base/file.h"
#include "base/names.h"
#include "train/config.h"
#include "train/digest.h"
#include "train/file_list.h"
#include "train/record.h"

namespace lasnet {

namespace {

bool is_sound(const std::string& checkpoint) {
  try {
    return load_checkpoint(checkpoint).has_value();
  } catch (const Error&) {
    return false;
  }
}

void remove_file(const std::string& path) {
  std::error_code error;
  std::filesystem::remove(path, error);
  if (error) fail("{}: cannot be removed: {}", path, error.message());
}

std::string named(const std::string& file) { return file.empty() ? "none" : file; }

void check_same_file(const FoundCheckpoint& found, const char* key, const std::string& before,
                     const std::string& now, const std::string& digest_before,
                     const std::string& digest_now) {
  if (digest_before == digest_now) return;
  fail(
      "{}: the run was started with {} {} (SHA-256 {:.12}), now it is {} ({:.12}); a run can only be resumed "
      "unchanged",
      found.path, setting_name(key), named(before), named(digest_before), named(now), named(digest_now));
}

}  // namespace

void RunFiles::prepare() const {
  std::error_code error;
  std::filesystem::create_directories(directory_, error);
  if (error) fail("{}: cannot create the output directory: {}", directory_, error.message());
  check_writable(checkpoint());
}

void RunFiles::remove_half_written() const {
  for (const std::string& file :
       {checkpoint(), static_model(), control_model(), dynamic_model(), log(), file_list()})
    lasnet::remove_half_written(file);
}

std::string RunFiles::previous_checkpoint(int age) const {
  return path(age == 1 ? "checkpoint.previous.safetensors"
                       : fmt::format("checkpoint.previous-{}.safetensors", age));
}

std::optional<FoundCheckpoint> RunFiles::find_checkpoint() const {
  std::string problem;
  bool damaged = false;
  for (int age = 0; age < kMaxCheckpoints; ++age) {
    const std::string file = age == 0 ? checkpoint() : previous_checkpoint(age);
    try {
      if (auto sound = load_checkpoint(file)) return {{std::move(*sound), file, problem}};
      if (age == 0) problem = fmt::format("{}: is missing", file);
    } catch (const Error& error) {
      if (!damaged) problem = error.what();
      damaged = true;
    }
  }
  if (damaged)
    fail("{}; there is no sound checkpoint before it: start anew with {}", problem,
         setting_name("overwrite"));
  return std::nullopt;
}

/// The newest becomes the one before, and so on. Whenever the process is killed meanwhile, no sound one of
/// the newest `keep` - 1 is gone.
void RunFiles::make_previous(int keep) const {
  std::error_code error;
  for (int age = kMaxCheckpoints - 1; age >= std::max(keep - 1, 1); --age)
    remove_file(previous_checkpoint(age));
  for (int age = keep - 2; age >= 1; --age) {
    if (!std::filesystem::exists(previous_checkpoint(age))) continue;
    std::filesystem::rename(previous_checkpoint(age), previous_checkpoint(age + 1), error);
    if (error) fail("{}: cannot be renamed: {}", previous_checkpoint(age), error.message());
  }
  std::filesystem::create_hard_link(checkpoint(), previous_checkpoint(), error);
  // File systems without links: for a moment there is the previous one alone.
  if (error) std::filesystem::rename(checkpoint(), previous_checkpoint(), error);
  if (error) fail("{}: cannot be renamed: {}", checkpoint(), error.message());
}

void RunFiles::save(const Checkpoint& position) const {
  // A damaged one must not take the place of the last that is sound.
  if (is_sound(checkpoint())) make_previous(position.config.keep_checkpoints);
  save_checkpoint(position, checkpoint());
  if (position.config.keep_checkpoints == 1) forget_previous();
}

void RunFiles::forget_position() const {
  forget_previous();
  remove_file(checkpoint());
}

void RunFiles::forget_previous() const {
  for (int age = 1; age < kMaxCheckpoints; ++age) remove_file(previous_checkpoint(age));
}

void check_same_settings(const FoundCheckpoint& found, const TrainConfig& config) {
  const nlohmann::json before = recipe_json(found.checkpoint.config), now = recipe_json(config);
  for (const auto& [key, value] : now.items()) {
    // Given or not: check_same_data compares what they come to.
    if (key == "mean" || key == "std" || before.at(key) == value) continue;
    fail("{}: the run was started with {} {}, now it is {}; a run can only be resumed unchanged", found.path,
         setting_name(key), to_text(before.at(key)), to_text(value));
  }
}

void check_same_inputs(const FoundCheckpoint& found, const TrainConfig& config, const RunInputs& inputs) {
  const Checkpoint& checkpoint = found.checkpoint;
  check_same_file(found, "init", checkpoint.config.init, config.init, checkpoint.inputs.init, inputs.init);
  check_same_file(found, "teacher", checkpoint.config.teacher, config.teacher, checkpoint.inputs.teacher,
                  inputs.teacher);
}

std::string check_same_data(const FoundCheckpoint& found, const RunData& data, const std::string& file_list) {
  const Checkpoint& checkpoint = found.checkpoint;
  if (!same_names(checkpoint.classes, data.classes)) {
    fail("{}: the run was started on other data: {} classes, now {}; gone: {}; new: {}", found.path,
         checkpoint.classes.size(), data.classes.size(),
         some_of(missing_from(checkpoint.classes, data.classes)),
         some_of(missing_from(data.classes, checkpoint.classes)));
  }
  if (to_json(checkpoint.preprocessing) != to_json(data.preprocessing)) {
    fail("{}: the run was started with the preprocessing {}, now it is {}", found.path,
         to_text(to_json(checkpoint.preprocessing)), to_text(to_json(data.preprocessing)));
  }
  ListDifference difference;
  if (digest_of(data.files) != checkpoint.file_list) {
    const std::vector<uint8_t> bytes = read_file(file_list);
    const std::string before(bytes.begin(), bytes.end());
    if (digest_of(before) != checkpoint.file_list)
      fail("{}: is not the list of the images that the run was started on", file_list);
    difference = compare_lists(before, data.files);
  }
  if (!difference.content.empty() || checkpoint.train_images != data.train_images) {
    fail("{}: the run was started on other data: {} training images, now {}; {}", found.path,
         checkpoint.train_images, data.train_images, difference.content);
  }
  if (difference.times.empty()) return {};
  return fmt::format(
      "since the run was started these images were written again: {}; if they are other pictures now, the "
      "result is no "
      "longer that of one data set",
      difference.times);
}

void write_log_csv(const std::vector<EpochInfo>& history, const std::vector<std::string>& blocks,
                   const std::string& path) {
  std::string text =
      "phase,epoch,lr,gumbel_temperature,train_loss,train_top1,train_macs_ratio,val_loss,val_top1,val_top5,"
      "macs_ratio,macs_ratio_std,predicted_ms,seconds";
  for (const std::string& block : blocks) text += ",r_" + block;
  text += '\n';
  for (const EpochInfo& info : history) {
    const Evaluation& val = info.validation;
    text += fmt::format(
        "{},{},{:.6g},{:.4g},{:.5f},{:.5f},{:.5f},{:.5f},{:.5f},{:.5f},{:.5f},{:.5f},{},{:.1f}", info.phase,
        info.epoch, info.lr, info.gumbel_temperature, info.train_loss, info.train_top1, info.train_macs_ratio,
        val.loss, val.top1, val.top5, val.macs_ratio, val.macs_ratio_std,
        val.predicted_ms ? fmt::format("{:.5g}", *val.predicted_ms) : std::string(), info.seconds);
    for (size_t i = 0; i < blocks.size(); ++i) {
      text += val.rates.empty() ? std::string(",") : fmt::format(",{:.5f}", val.rates[i]);
    }
    text += '\n';
  }
  write_file_atomically(path, [&](std::ostream& out) { out << text; });
}

}  // namespace lasnet
