// `lasnet convert`: weights of any readable file into a model file that describes itself.
#include <filesystem>
#include <memory>

#include "base/fail.h"
#include "classes.h"
#include "commands.h"
#include "model_options.h"
#include "output.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

struct ConvertCommand {
  ModelOptions model;
  std::string output;
  DType dtype = DType::f32;
  bool json = false;
};

constexpr const char* kExtension = ".safetensors";

/// Where the maskers come from: "none" (a static network), "fresh", "file", or "mixed" over the blocks.
std::string masker_source(const Model& model) {
  const WeightsOrigin& origin = model.origin;
  if (!model.spec.arch.is_dynamic()) return "none";
  if (origin.fresh_maskers > 0 && origin.stored_maskers > 0) return "mixed";
  return origin.fresh_maskers > 0 ? "fresh" : origin.stored_maskers > 0 ? "file" : "none";
}

/// Of the preprocessing, what neither the file nor the options say.
std::vector<std::string> assumptions(const ConvertCommand& command, const Model& model) {
  std::vector<std::string> assumed;
  if (model.origin.has_description) return assumed;
  const PreprocessingOptions& given = command.model.preprocessing;
  if (!given.mean) assumed.emplace_back("mean");
  if (!given.std) assumed.emplace_back("std");
  if (!given.resize) assumed.emplace_back("resize");
  if (!given.crop) assumed.emplace_back("crop");
  return assumed;
}

std::string origin_text(const Json& facts) {
  std::string text =
      fmt::format("{}, {}", facts["input"].get<std::string>(), facts["format"].get<std::string>());
  const auto keys = facts["state_dict"].get<std::string>(), prefix = facts["prefix"].get<std::string>();
  if (!keys.empty()) text += fmt::format(", state dict '{}'", keys);
  if (!prefix.empty()) text += fmt::format(", names without '{}'", prefix);
  return text;
}

int64_t count_values(const Weights& weights) {
  int64_t count = 0;
  for (const auto& [name, tensor] : weights) count += tensor.size();
  return count;
}

std::string to_text(const Json& facts, const Model& model) {
  const std::string maskers = facts["maskers"];
  std::string text = fmt::format("{}  {}\n", bold(facts["output"]), dim(describe(model.spec.arch)));
  text += fmt::format("from     {}\n", origin_text(facts));
  text += fmt::format("classes  {}{}\n", describe_classes(model.spec),
                      model.spec.has_head() && model.class_names.empty()
                          ? ", without names (--classes FILE gives them)"
                          : "");
  const Preprocessing& input = model.preprocessing;
  text += fmt::format("images   shorter side to {} px, {}; mean {}, std {}\n", input.resize,
                      input.crop > 0 ? fmt::format("centre crop {} px", input.crop) : "no crop",
                      fmt::join(input.mean, " "), fmt::join(input.std, " "));
  if (!facts["assumed"].empty()) {
    text += fmt::format(
        "assumed  ImageNet's usual {}; a network trained on other inputs guesses: say --mean, "
        "--std, --resize, --crop (--mean raw: pixels as they are)\n",
        fmt::join(facts["assumed"].get<std::vector<std::string>>(), ", "));
  }
  text += fmt::format("written  {} values as {}, {:.1f} MB\n", format_count(facts["values"]),
                      facts["dtype"].get<std::string>(), facts["bytes"].get<double>() / 1e6);
  if (maskers == "fresh" || maskers == "mixed") {
    text +=
        fmt::format("maskers  fresh{}: they select everything until they are trained (lasnet train --init)\n",
                    maskers == "mixed" ? " in some blocks" : "");
  } else if (maskers == "file") {
    text += "maskers  the file's\n";
  }
  return text;
}

int convert(const ConvertCommand& command) {
  if (!command.output.ends_with(kExtension)) {
    throw UsageError(
        fmt::format("{}: convert writes {} files; expected a name that ends so", command.output, kExtension));
  }
  Model model = load_model(command.model);
  warn_of_undivided_maps(command.model.path, model, model.preprocessing.crop);
  if (const int crop = model.preprocessing.crop; crop > 0) {
    warn_of_patches_beyond_maps(model.spec, network_geometry(model.spec, {crop, crop}));
  }
  save_model(model, command.output, command.dtype);
  const Json facts = {{"input", command.model.path},
                      {"format", model.origin.format},
                      {"state_dict", model.origin.state_dict},
                      {"other_state_dicts", model.origin.other_state_dicts},
                      {"prefix", model.origin.prefix},
                      {"output", command.output},
                      {"arch", arch_json(model.spec)},
                      {"class_names", model.class_names},
                      {"maskers", masker_source(model)},
                      {"assumed", assumptions(command, model)},
                      {"dtype", to_string(command.dtype)},
                      {"values", count_values(model.weights)},
                      {"bytes", std::filesystem::file_size(command.output)}};
  if (command.json) {
    print_json(facts);
  } else {
    print(to_text(facts, model));
  }
  return 0;
}

}  // namespace

void add_convert(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "convert", "PyTorch or plain weights into a model file that describes itself");
  const auto command = std::make_shared<ConvertCommand>();
  add_model_options(*sub, command->model);
  sub->add_option("OUT", command->output, "Model file to write, .safetensors; an old one is replaced")
      ->required();
  add_preprocessing_options(*sub, command->model.preprocessing);
  add_parsed(*sub, "--dtype", "Type of the stored values: fp32, fp16 or bf16",
             [command](const std::string& text) { command->dtype = parse_dtype(text); })
      ->default_str("fp32");
  add_json_flag(*sub, command->json);
  sub->callback([command, &action] { action = [command] { return convert(*command); }; });
}

}  // namespace lasnet::cli
