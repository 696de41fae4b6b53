// `lasnet quantize`: int8 weights and scales for a model, from photographs.
#include "lasnet/quantize.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/file.h"
#include "commands.h"
#include "image_options.h"
#include "lasnet/image.h"
#include "log.h"
#include "machine.h"
#include "model_options.h"
#include "output.h"
#include "progress.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr const char* kExtension = ".safetensors";
/// Of every so many images one is not used for the scales, but to check them.
constexpr size_t kHeldOut = 5;

constexpr const char* kFooter =
    R"(What is made
  OUT is MODEL with int8 weights, a scale for each output channel, and a scale for each map, for --precision int8.
  Scales come from images that are run with their own masks; only computed pixels count. One image in five is not
  used for that. On these, or on those of --check, it is said what the scales clip.

Examples
  lasnet quantize model.safetensors --images data/train -o model-int8.safetensors
  lasnet eval model-int8.safetensors data/val --precision int8)";

struct QuantizeCommand {
  ModelOptions model;
  QuantizationOptions options;
  ImageOptions image_options;
  std::string images, check, output;
  int count = 256;
  bool skip_unreadable = false;
  bool json = false;
};

/// At most `count` of the folder's images, evenly spread.
std::vector<std::string> spread_images(const std::string& dir, size_t count) {
  std::vector<std::string> files = list_images(dir);
  if (files.size() <= count) return files;
  std::vector<std::string> chosen;
  for (size_t i = 0; i < count; ++i) chosen.push_back(std::move(files[i * files.size() / count]));
  return chosen;
}

CalibrationImages calibration_images(const std::vector<std::string>& files, const Model& model,
                                     const QuantizeCommand& command) {
  const DecodeOptions decode = decode_options(command.image_options);
  const auto read = [&files, &model, decode, skip = command.skip_unreadable](int64_t index) -> Tensor {
    try {
      const Image image = load_image(files[static_cast<size_t>(index)], decode);
      return to_input(resize_and_crop(image, model.preprocessing), model.preprocessing);
    } catch (const Error& error) {
      if (!skip) throw;
      log_warning(error.what());
      return {};
    }
  };
  return {.count = static_cast<int64_t>(files.size()), .read = read};
}

/// Images that choose scales, and others that check them.
struct Split {
  std::vector<std::string> choosing, checking;
};

Split split_images(const QuantizeCommand& command) {
  Split split;
  std::vector<std::string> files = spread_images(command.images, static_cast<size_t>(command.count));
  if (!command.check.empty()) {
    split.choosing = std::move(files);
    split.checking = spread_images(command.check, static_cast<size_t>(command.count));
    return split;
  }
  for (size_t i = 0; i < files.size(); ++i)
    (i % kHeldOut == kHeldOut - 1 ? split.checking : split.choosing).push_back(std::move(files[i]));
  return split;
}

void log_warnings(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) log_warning(warning);
}

std::map<std::string, double> chosen_clipping(const Quantization& quantization) {
  std::map<std::string, double> shares;
  for (const auto& [name, map] : quantization.maps) shares[name] = map.clipped;
  return shares;
}

double largest_share(const std::map<std::string, double>& shares) {
  double largest = 0;
  for (const auto& [name, share] : shares) largest = std::max(largest, share);
  return largest;
}

int quantize(const QuantizeCommand& command) {
  if (!command.output.ends_with(kExtension)) {
    throw UsageError(fmt::format("-o {}: quantize writes {} files; expected a name that ends so",
                                 command.output, kExtension));
  }
  const Model model = load_model(command.model);
  const Split split = split_images(command);
  check_writable(command.output);
  QuantizationOptions options = command.options;
  Progress bar("quantize", static_cast<int64_t>(split.choosing.size()), "images");
  options.progress = [&](double share) {
    bar.update(static_cast<int64_t>(share * static_cast<double>(split.choosing.size()) + 0.5));
  };
  const Model quantized =
      lasnet::quantize(model, calibration_images(split.choosing, model, command), options);
  bar.clear();
  options.progress = {};
  std::map<std::string, double> checked;
  if (!split.checking.empty())
    checked = clipped_shares(quantized, calibration_images(split.checking, model, command), options);
  save_model(quantized, command.output);
  const int64_t images = quantized.quantization->images;
  log_warnings(calibration_warnings(*quantized.quantization, command.images));
  log_warnings(clipping_warnings(checked, command.check.empty() ? command.images : command.check));
  if (command.json) {
    print_json({{"model", command.model.path},
                {"images", images},
                {"checked_images", split.checking.size()},
                {"method", quantized.quantization->method},
                {"output", command.output},
                {"clipped", chosen_clipping(*quantized.quantization)},
                {"checked_clipped", checked}});
  } else {
    print(
        fmt::format("{}  int8, scales by {} on {} image{}; the map that is clipped most loses {} of its "
                    "values, {} on {} other image{}\n",
                    bold(command.output), quantized.quantization->method, images, images == 1 ? "" : "s",
                    format_percent(largest_share(chosen_clipping(*quantized.quantization))),
                    format_percent(largest_share(checked)), split.checking.size(),
                    split.checking.size() == 1 ? "" : "s"));
  }
  return 0;
}

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "quantize", "Make int8 weights and scales from photographs");
  const auto command = std::make_shared<QuantizeCommand>();
  command->options.session.threads = default_threads();
  add_model_options(*sub, command->model);
  sub->add_option("--images", command->images, "Photographs to choose scales on; subfolders too")
      ->required()
      ->type_name("DIR");
  sub->add_option("--check", command->check,
                  "Photographs to check the scales on; else every fifth of --images")
      ->type_name("DIR");
  sub->add_option("-o,--output", command->output, "Model file to write, .safetensors")
      ->required()
      ->type_name("OUT");
  add_parsed(
      *sub, "--method",
      "How each map's scale is chosen: minmax (nothing is clipped), percentile (0.01 % are) or mse (the "
      "least squared error)",
      [command](const std::string& text) { command->options.method = parse_quantization_method(text); })
      ->default_str("mse");
  add_number(*sub, "--count", command->count, 1, 1 << 20, "Images at most, spread evenly over the folder");
  sub->add_flag("--skip-unreadable", command->skip_unreadable,
                "Leave out images that cannot be decoded; else the first one ends the command");
  add_image_options(*sub, command->image_options);
  add_number(*sub, "--threads", command->options.session.threads, 1, 1024, "Threads");
  add_json_flag(*sub, command->json);
  sub->footer(kFooter);
  sub->callback([command, &action] { action = [command] { return quantize(*command); }; });
}

}  // namespace lasnet::cli
