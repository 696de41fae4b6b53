// `lasnet forward`: raw tensors in and out, for interchange with other programs.
#include <filesystem>
#include <memory>
#include <ranges>

#include "base/fail.h"
#include "base/file.h"
#include "classes.h"
#include "commands.h"
#include "formats/npy.h"
#include "input_options.h"
#include "log.h"
#include "map_options.h"
#include "model_options.h"
#include "operating_options.h"
#include "output.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

namespace fs = std::filesystem;

struct ForwardCommand {
  ModelOptions model;
  SessionOptions session;
  OperatingOptions operating;
  bool check_finite = false;
  std::string input, output;
  std::string masks;
  std::string force_masks;
  std::string features;
  MapOptions maps;
};

void save_masks(const Trace& trace, const std::string& dir) {
  create_directory(dir);
  for (const BlockTrace& block : trace.blocks) {
    if (block.granularity > 0) save_npy(block.mask, (fs::path(dir) / (block.name + ".npy")).string());
  }
}

void save_features(const FeatureMaps& maps, const std::string& dir) {
  create_directory(dir);
  for (const auto& [name, map] : maps) save_npy(map, (fs::path(dir) / (name + ".npy")).string());
}

/// Throws UsageError if nothing is asked for, or logits of a network that has none.
void check_outputs(const ForwardCommand& command, const ModelSpec& spec) {
  if (!command.output.empty() && !spec.has_head()) {
    throw UsageError(
        fmt::format("--output: {} is a backbone without a classifier, so it has no logits; --features writes "
                    "its maps",
                    command.model.path));
  }
  if (command.output.empty() && command.features.empty() && command.masks.empty())
    throw UsageError("nothing to write; expected --output, --features or --masks");
}

/// "logits [1, 10], maps of layer3, layer4".
std::string describe_written(const ForwardCommand& command, const Result& result) {
  std::vector<std::string> parts;
  if (!command.output.empty()) parts.push_back("logits " + to_string(result.logits.shape));
  if (!result.features.empty())
    parts.push_back(fmt::format("maps of {}", fmt::join(std::views::keys(result.features), ", ")));
  if (!command.masks.empty()) parts.emplace_back("masks");
  return fmt::format("{}", fmt::join(parts, ", "));
}

int forward(const ForwardCommand& command) {
  const Model model = load_model(command.model);
  check_outputs(command, model.spec);
  const std::vector<std::string> maps =
      command.features.empty() ? std::vector<std::string>{} : chosen_maps(command.maps, model.spec);
  const Tensor input = load_npy_f32(command.input);
  const MaskSet forced =
      command.force_masks.empty() ? MaskSet{} : load_masks(command.force_masks, "--force-masks");
  std::optional<MapSize> size;
  if (input.shape.size() == 4) size = {input.shape[2], input.shape[3]};
  const OperatingChoice operating = operating_choice(command.operating, model, command.session, size);
  if (!command.output.empty()) check_writable(command.output);
  Session session = open_session(model, command.session);
  const Result result = session.run(input, {.force_masks = forced.empty() ? nullptr : &forced,
                                            .thresholds = operating.thresholds,
                                            .check_finite = command.check_finite,
                                            .record_masks = !command.masks.empty(),
                                            .features = maps,
                                            .feature_layout = command.maps.layout});
  // The logits last: where they are, masks and maps are complete.
  if (!command.masks.empty()) save_masks(result.trace, command.masks);
  if (!command.features.empty()) save_features(result.features, command.features);
  if (!command.output.empty()) save_npy(result.logits, command.output);
  if (const auto image = image_without_class(result.logits))
    log_warning(fmt::format("{}: image {}: {}", command.input, *image, kLogitsNotFinite));
  log_info(fmt::format("{}: {}, {} of the MACs ({})", command.input, describe_written(command, result),
                       format_percent(result.trace.macs_ratio()), describe(session)));
  return 0;
}

}  // namespace

void add_forward(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "forward", "Run a tensor: .npy in, logits, masks and maps out as .npy");
  const auto command = std::make_shared<ForwardCommand>();
  add_model_options(*sub, command->model);
  sub->add_option("--input", command->input, "float32 [N, 3, H, W], preprocessed")
      ->required()
      ->type_name("X.npy");
  sub->add_option("--output", command->output, "Write float32 [N, classes]: the logits")->type_name("Y.npy");
  sub->add_option("--masks", command->masks, "Write uint8 [N, H', W'] per dynamic block, as <block>.npy")
      ->type_name("DIR");
  sub->add_option(
         "--force-masks", command->force_masks,
         "Masks to use instead of the maskers' decisions, as --masks writes them; blocks without a file "
         "decide themselves")
      ->type_name("DIR");
  sub->add_option("--features", command->features,
                  "Write float32 maps after the stem and after each stage, as <name>.npy")
      ->type_name("DIR");
  add_map_options(*sub, command->maps);
  add_operating_options(*sub, command->operating);
  add_session_options(*sub, command->session, 1);
  add_check_finite_flag(*sub, command->check_finite);
  sub->callback([command, &action] { action = [command] { return forward(*command); }; });
}

}  // namespace lasnet::cli
