// `lasnet inspect`: what a model file holds or an architecture has, and what each block costs.
#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/fail.h"
#include "classes.h"
#include "commands.h"
#include "lasnet/geometry.h"
#include "lasnet/quantize.h"
#include "model_options.h"
#include "operating_points_report.h"
#include "output.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

struct InspectCommand {
  ModelOptions model;
  int size = 0;
  bool json = false;
};

MapSize input_size(const Model& model, int size) {
  const int side = size > 0 ? size : model.preprocessing.crop > 0 ? model.preprocessing.crop : 224;
  return {side, side};
}

Json block_json(const BlockSpec& block, const BlockGeometry& geometry) {
  const BlockMacs macs = block_macs(block, geometry);
  const ParameterCount parameters = count_parameters(required_tensors(block));
  return {{"name", block.name},
          {"granularity", granularity_json(block.granularity)},
          {"in_channels", block.in_channels},
          {"out_channels", block.out_channels},
          {"stride", block.stride},
          {"height", geometry.output.height},
          {"width", geometry.output.width},
          {"macs", macs.static_total()},
          {"masker_macs", macs.masker},
          {"parameters", parameters.network},
          {"masker_parameters", parameters.maskers}};
}

/// What forward --features can write.
Json maps_json(const ModelSpec& spec) {
  Json maps = Json::array();
  for (const FeatureSpec& map : feature_specs(spec))
    maps.push_back({{"name", map.name}, {"channels", map.channels}, {"stride", map.stride}});
  return maps;
}

/// null of a model that is not quantized.
Json quantization_json(const std::optional<Quantization>& quantization) {
  if (!quantization) return nullptr;
  Json maps = Json::object();
  for (const auto& [name, map] : quantization->maps)
    maps[name] = {{"scale", map.scale}, {"zero", map.zero}, {"clipped", map.clipped}};
  return {{"method", quantization->method},
          {"images", quantization->images},
          {"layers", quantization->layers.size()},
          {"maps", maps}};
}

Json to_json(const std::string& path, const Model& model, const NetworkGeometry& geometry) {
  const ModelSpec& spec = model.spec;
  const MapSize input = geometry.input;
  Json blocks = Json::array();
  for (size_t i = 0; i < spec.blocks.size(); ++i)
    blocks.push_back(block_json(spec.blocks[i], geometry.blocks[i]));
  const Preprocessing& preprocessing = model.preprocessing;
  const ParameterCount parameters = count_parameters(required_tensors(spec));
  return {{"model", path},
          {"arch", arch_json(spec)},
          {"class_names", model.class_names},
          {"preprocessing",
           {{"resize", preprocessing.resize},
            {"crop", preprocessing.crop},
            {"mean", preprocessing.mean},
            {"std", preprocessing.std}}},
          {"training", Json::parse(model.training_json)},
          {"operating_points", operating_points_json(model.operating_points)},
          {"quantization", quantization_json(model.quantization)},
          {"input", {input.height, input.width}},
          {"parameters", parameters.network},
          {"masker_parameters", parameters.maskers},
          {"macs", static_macs(spec, input)},
          {"fixed_macs", fixed_macs(spec, geometry)},
          {"maps", maps_json(spec)},
          {"blocks", blocks}};
}

/// "stem (64 channels, 1/4), ...".
std::string describe_maps(const Json& maps) {
  std::vector<std::string> texts;
  for (const Json& map : maps) {
    texts.push_back(fmt::format("{} ({} channels, 1/{})", map["name"].get<std::string>(),
                                map["channels"].get<int>(), map["stride"].get<int>()));
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

std::string block_table(const Json& facts) {
  Table table({"block", ">S", ">channels", ">map", ">MACs", ">masker", ">parameters"});
  int64_t block_parameters = 0, maskers = 0;
  for (const Json& block : facts["blocks"]) {
    const Json& side = block["granularity"];
    const int64_t masker = block["masker_macs"];
    table.add_row({block["name"], side.is_string() ? side.get<std::string>() : format_granularity(side),
                   fmt::format("{} → {}", block["in_channels"].get<int>(), block["out_channels"].get<int>()),
                   fmt::format("{} x {}", block["height"].get<int>(), block["width"].get<int>()),
                   format_count(block["macs"]), masker > 0 ? format_count(static_cast<double>(masker)) : "-",
                   format_count(block["parameters"])});
    block_parameters += block["parameters"].get<int64_t>();
    maskers += masker;
  }
  const int64_t all_parameters = facts["parameters"];
  table.add_row({"stem and head", "", "", "", format_count(facts["fixed_macs"]), "-",
                 format_count(static_cast<double>(all_parameters - block_parameters))});
  table.add_rule();
  table.add_row({"static network", "", "", "", format_count(facts["macs"]),
                 format_count(static_cast<double>(maskers)),
                 format_count(static_cast<double>(all_parameters))});
  return table.to_string();
}

std::string describe_names(const std::vector<std::string>& names) {
  constexpr size_t kShown = 12;
  if (names.empty()) return " (no names)";
  const auto shown = names.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, names.size()));
  return fmt::format(": {}{}", fmt::join(names.begin(), shown, ", "), names.size() > kShown ? ", ..." : "");
}

/// A JSON value for people: without quotes and braces, numbers to four digits; what is empty is left out.
std::string compact(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{:.4g}", value.get<double>());
  if (!value.is_structured()) return value.dump();
  std::vector<std::string> parts;
  for (const auto& [key, item] : value.items()) {
    if (item.is_structured() && item.empty()) continue;
    const std::string text = item.is_object() ? "(" + compact(item) + ")" : compact(item);
    parts.push_back(value.is_object() ? key + " " + text : text);
  }
  return fmt::format("{}", fmt::join(parts, value.is_object() ? ", " : " "));
}

/// "label          text"; a long text goes on below its beginning.
std::string labelled(const std::string& label, const std::string& text) {
  constexpr size_t kIndent = 15, kWidth = 110;
  std::string lines = fmt::format("{:<{}}", label, kIndent - 1);
  size_t column = kIndent;
  for (const std::string& word : CLI::detail::split(text, ' ')) {
    const bool is_full = column > kIndent && column + word.size() >= kWidth;
    if (is_full) column = kIndent;
    lines += (is_full ? "\n" + std::string(kIndent, ' ') : " ") + word;
    column += word.size() + 1;
  }
  return lines + "\n";
}

/// What training left: an entry each, and one for each result.
std::string training_text(const Json& training) {
  std::string text;
  for (const auto& [key, value] : training.items()) {
    if (!value.is_object() || value.empty() || !value.front().is_object()) {
      text += labelled(key, compact(value));
      continue;
    }
    for (const auto& [part, item] : value.items()) text += labelled(part, compact(item));
  }
  return text;
}

/// The maps of an int8 model, in the order in which the network writes them.
std::string quantization_table(const ModelSpec& spec, const Quantization& quantization) {
  Table table({"map", ">largest", ">clipped"});
  const auto add = [&](const std::string& name) {
    const MapQuantization& map = quantization.maps.at(name);
    constexpr int kLargestByte = 255;
    table.add_row({name, fmt::format("{:.4g}", map.scale * static_cast<float>(kLargestByte - map.zero)),
                   format_percent(map.clipped)});
  };
  const QuantizedMaps maps = quantized_maps(spec);
  add(kQuantizedInput);
  add(maps.residual.front());
  for (size_t b = 0; b < spec.blocks.size(); ++b) {
    for (const std::string& name : maps.inner[b]) add(name);
    if (!maps.excited[b].empty()) add(maps.excited[b]);
    if (spec.blocks[b].projection) add(maps.residual[b + 1]);
  }
  return table.to_string();
}

std::string to_text(const Model& model, const Json& facts) {
  const Json& preprocessing = facts["preprocessing"];
  const int crop = preprocessing["crop"];
  std::string text = fmt::format("{}  {}\n\n", bold(facts["model"]), dim(describe(model.spec.arch)));
  text += fmt::format("stem           {}\n", facts["arch"]["stem"].get<std::string>());
  text += fmt::format("classes        {}{}\n", describe_classes(model.spec),
                      model.spec.has_head() ? describe_names(model.class_names) : "");
  text += fmt::format("maps           {}\n", describe_maps(facts["maps"]));
  text +=
      fmt::format("preprocessing  shorter side to {} px, {}; mean {}, std {}\n", model.preprocessing.resize,
                  crop > 0 ? fmt::format("centre crop {} x {}", crop, crop) : "no crop",
                  fmt::join(model.preprocessing.mean, " "), fmt::join(model.preprocessing.std, " "));
  if (const int64_t maskers = facts["masker_parameters"]; maskers > 0) {
    text += fmt::format("maskers        {} parameters, beside the network's below\n",
                        format_count(static_cast<double>(maskers)));
  }
  text += training_text(facts["training"]);
  text += fmt::format("\nfor one image of {} x {} px, everything computed:\n", facts["input"][0].get<int>(),
                      facts["input"][1].get<int>());
  text += block_table(facts);
  if (model.quantization) {
    text += fmt::format("\nint8 (--precision int8): {} layers, scales by {} on {} image{}\n\n{}",
                        model.quantization->layers.size(), model.quantization->method,
                        model.quantization->images, model.quantization->images == 1 ? "" : "s",
                        quantization_table(model.spec, *model.quantization));
  }
  if (model.operating_points.empty()) return text;
  return text + "\noperating points (--macs and --budget-ms choose between them):\n\n" +
         operating_points_table(model.operating_points);
}

/// The model file, or the architecture that MODEL names, without weights.
Model inspected(const ModelOptions& options) {
  const bool may_be_a_name = !std::filesystem::path(options.path).has_extension();
  if (may_be_a_name) check_file_or_architecture(options.path);
  if (!is_architecture(options.path)) return load_model(options);
  Model model = described_model(options);
  model.class_names = options.class_names;
  model.class_folders = options.class_folders;
  model.preprocessing = apply(options.preprocessing, model.preprocessing);
  return model;
}

int inspect(const InspectCommand& command) {
  const Model model = inspected(command.model);
  const NetworkGeometry geometry = network_geometry(model.spec, input_size(model, command.size));
  warn_of_patches_beyond_maps(model.spec, geometry);
  const Json facts = to_json(command.model.path, model, geometry);
  if (command.json) {
    print_json(facts);
  } else {
    print(to_text(model, facts));
  }
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "inspect", "Blocks, parameters and MACs of a model file or an architecture");
  const auto command = std::make_shared<InspectCommand>();
  add_model_options(*sub, command->model);
  add_preprocessing_options(*sub, command->model.preprocessing);
  sub->get_option("MODEL")->description(
      "Model file, .safetensors; PyTorch weights; or an architecture's name");
  add_number(*sub, "--size,--input-size", command->size, 32, 8192,
             "Side of the image in px; default: the model's crop")
      ->default_str("");
  add_json_flag(*sub, command->json);
  sub->callback([command, &action] { action = [command] { return inspect(*command); }; });
}

}  // namespace lasnet::cli
