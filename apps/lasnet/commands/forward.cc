// `lasnet forward`: raw tensors in and out, for interchange with other programs.
#include <filesystem>
#include <memory>

#include "base/fail.h"
#include "base/file.h"
#include "classes.h"
#include "commands.h"
#include "formats/npy.h"
#include "input_options.h"
#include "log.h"
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
};

void save_masks(const Trace& trace, const std::string& dir) {
  create_directory(dir);
  for (const BlockTrace& block : trace.blocks) {
    if (block.granularity > 0) save_npy(block.mask, (fs::path(dir) / (block.name + ".npy")).string());
  }
}

int forward(const ForwardCommand& command) {
  const Model model = load_model(command.model);
  const Tensor input = load_npy_f32(command.input);
  const MaskSet forced =
      command.force_masks.empty() ? MaskSet{} : load_masks(command.force_masks, "--force-masks");
  std::optional<MapSize> size;
  if (input.shape.size() == 4) size = {input.shape[2], input.shape[3]};
  const std::vector<float> thresholds = thresholds_for(command.operating, model, command.session, size);
  check_writable(command.output);
  Session session(model, command.session);
  const Result result = session.run(input, {.force_masks = forced.empty() ? nullptr : &forced,
                                            .thresholds = thresholds,
                                            .check_finite = command.check_finite,
                                            .record_masks = !command.masks.empty()});
  // The logits last: where they are, the masks are complete.
  if (!command.masks.empty()) save_masks(result.trace, command.masks);
  save_npy(result.logits, command.output);
  if (const auto image = image_without_class(result.logits))
    log_warning(fmt::format("{}: image {}: {}", command.input, *image, kLogitsNotFinite));
  log_info(fmt::format("{}: logits {}, {} of the MACs ({})", command.output, to_string(result.logits.shape),
                       format_percent(result.trace.macs_ratio()), describe(session)));
  return 0;
}

}  // namespace

void add_forward(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "forward", "Run a tensor: .npy in, logits and masks out as .npy");
  const auto command = std::make_shared<ForwardCommand>();
  add_model_options(*sub, command->model);
  sub->add_option("--input", command->input, "float32 [N, 3, H, W], preprocessed")
      ->required()
      ->type_name("X.npy");
  sub->add_option("--output", command->output, "float32 [N, classes]")->required()->type_name("Y.npy");
  sub->add_option("--masks", command->masks, "Write uint8 [N, H', W'] per dynamic block, as <block>.npy")
      ->type_name("DIR");
  sub->add_option(
         "--force-masks", command->force_masks,
         "Masks to use instead of the maskers' decisions, as --masks writes them; blocks without a file "
         "decide themselves")
      ->type_name("DIR");
  add_operating_options(*sub, command->operating);
  add_session_options(*sub, command->session, 1);
  add_check_finite_flag(*sub, command->check_finite);
  sub->callback([command, &action] { action = [command] { return forward(*command); }; });
}

}  // namespace lasnet::cli
