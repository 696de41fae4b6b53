// `lasnet convert`: weights of any readable file into a model file that describes itself.
#include <filesystem>
#include <memory>

#include "commands.h"
#include "common.h"
#include "core/fail.h"
#include "model/weight_file.h"
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
std::string masker_source(const ModelSpec& spec, const WeightFile& file) {
  bool fresh = false, stored = false;
  for (const BlockSpec& block : spec.blocks) {
    if (!block.is_dynamic()) continue;
    const bool found = file.tensors().contains(block.masker_name() + ".weight");
    (found ? stored : fresh) = true;
  }
  if (fresh && stored) return "mixed";
  return fresh ? "fresh" : stored ? "file" : "none";
}

int64_t count_values(const Weights& weights) {
  int64_t count = 0;
  for (const auto& [name, tensor] : weights) count += tensor.size();
  return count;
}

std::string to_text(const Json& facts, const Model& model) {
  const std::string maskers = facts["maskers"];
  std::string text = fmt::format("{}  {}\n", bold(facts["output"]), dim(describe(model.spec.arch)));
  text +=
      fmt::format("from     {}, {}\n", facts["input"].get<std::string>(), facts["format"].get<std::string>());
  text += fmt::format("classes  {}{}\n", model.spec.arch.classes,
                      model.class_names.empty() ? ", without names (--classes FILE gives them)" : "");
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
  const Model model = load_model(command.model);
  std::string format, maskers;
  {
    const auto file = open_weight_file(command.model.path);  // before the output, which may replace it
    format = file->format();
    maskers = masker_source(model.spec, *file);
  }
  save_model(model, command.output, command.dtype);
  const Json facts = {{"input", command.model.path},
                      {"format", format},
                      {"output", command.output},
                      {"arch", arch_json(model.spec)},
                      {"class_names", model.class_names},
                      {"maskers", maskers},
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
  auto* sub =
      app.add_subcommand("convert", "PyTorch or plain weights into a model file that describes itself");
  const auto command = std::make_shared<ConvertCommand>();
  add_model_options(*sub, command->model);
  sub->add_option("OUT", command->output, "Model file to write, .safetensors; an old one is replaced")
      ->required();
  add_parsed(*sub, "--dtype", "Type of the stored values: fp32, fp16 or bf16",
             [command](const std::string& text) { command->dtype = parse_dtype(text); })
      ->default_str("fp32");
  add_json_flag(*sub, command->json);
  sub->callback([command, &action] { action = [command] { return convert(*command); }; });
}

}  // namespace lasnet::cli
