// `lasnet convert`: weights of any readable file into a model file that describes itself.
#include <cmath>
#include <filesystem>
#include <memory>

#include "commands.h"
#include "common.h"
#include "core/fail.h"
#include "model/weight_file.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

/// How photographs become inputs, where the file does not say or should say otherwise.
struct PreprocessingOptions {
  std::optional<int> resize, crop;
  std::optional<std::vector<float>> mean, std;
};

struct ConvertCommand {
  ModelOptions model;
  PreprocessingOptions preprocessing;
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

Preprocessing apply(const PreprocessingOptions& options, Preprocessing preprocessing) {
  preprocessing.resize = options.resize.value_or(preprocessing.resize);
  preprocessing.crop = options.crop.value_or(preprocessing.crop);
  preprocessing.mean = options.mean.value_or(preprocessing.mean);
  preprocessing.std = options.std.value_or(preprocessing.std);
  if (preprocessing.crop > preprocessing.resize) {
    throw UsageError(
        fmt::format("--crop: {} px of images whose shorter side is {} px; expected no more than --resize",
                    preprocessing.crop, preprocessing.resize));
  }
  return preprocessing;
}

/// "0.485,0.456,0.406": numbers that are `allowed`, which `range` says in words.
std::vector<float> parse_rgb(const std::string& text, const std::function<bool(float)>& allowed,
                             const char* range) {
  std::vector<float> values;
  for (const std::string& part : CLI::detail::split(text, ',')) {
    float value = 0;
    if (!CLI::detail::lexical_cast(part, value) || !allowed(value)) {
      fail("'{}': expected numbers {}, of pixels from 0 to 1", part, range);
    }
    values.push_back(value);
  }
  if (values.size() != 3) fail("'{}': expected three numbers with commas, of red, green and blue", text);
  return values;
}

void add_preprocessing_options(CLI::App& app, PreprocessingOptions& options) {
  const std::string group = "Preprocessing (what the file says, else ImageNet's usual one)";
  const auto side = [](uint64_t least) { return whole_number(least, 8192); };
  app.add_option("--resize", options.resize, "Shorter side of a photograph, px; else 256")
      ->check(side(32))
      ->type_name("N")
      ->group(group);
  app.add_option("--crop", options.crop, "Centre crop, px; 0: none; else 224")
      ->check(side(0))
      ->type_name("N")
      ->group(group);
  add_parsed(app, "--mean", "Of red, green and blue in 0 ... 1; else 0.485,0.456,0.406",
             [&](const std::string& text) {
               options.mean = parse_rgb(
                   text, [](float x) { return x >= 0 && x <= 1; }, "from 0 to 1");
             })
      ->type_name("R,G,B")
      ->group(group);
  add_parsed(app, "--std", "The same; else 0.229,0.224,0.225",
             [&](const std::string& text) {
               options.std = parse_rgb(
                   text, [](float x) { return x > 0 && x <= 1; }, "greater than 0, up to 1");
             })
      ->type_name("R,G,B")
      ->group(group);
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
  const Preprocessing& input = model.preprocessing;
  text += fmt::format("images   shorter side to {} px, {}; mean {}, std {}\n", input.resize,
                      input.crop > 0 ? fmt::format("centre crop {} px", input.crop) : "no crop",
                      fmt::join(input.mean, " "), fmt::join(input.std, " "));
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
  model.preprocessing = apply(command.preprocessing, model.preprocessing);
  if (const int crop = model.preprocessing.crop; crop > 0) {
    warn_of_patches_beyond_maps(model.spec, network_geometry(model.spec, {crop, crop}));
  }
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
  auto* sub = add_command(app, "convert", "PyTorch or plain weights into a model file that describes itself");
  const auto command = std::make_shared<ConvertCommand>();
  add_model_options(*sub, command->model);
  sub->add_option("OUT", command->output, "Model file to write, .safetensors; an old one is replaced")
      ->required();
  add_preprocessing_options(*sub, command->preprocessing);
  add_parsed(*sub, "--dtype", "Type of the stored values: fp32, fp16 or bf16",
             [command](const std::string& text) { command->dtype = parse_dtype(text); })
      ->default_str("fp32");
  add_json_flag(*sub, command->json);
  sub->callback([command, &action] { action = [command] { return convert(*command); }; });
}

}  // namespace lasnet::cli
