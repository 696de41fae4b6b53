// `lasnet predict`: how long a network takes on hardware that need not be here.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "base/fail.h"
#include "base/numbers.h"
#include "commands.h"
#include "input_options.h"
#include "lasnet/geometry.h"
#include "latency_options.h"
#include "model_options.h"
#include "operating_options.h"
#include "output.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr const char* kFooter =
    R"(Examples
  lasnet predict resnet101 --hardware v100 --granularity 4-4-2-1 --rate 0.5
  lasnet predict resnet50 --hardware tx2 --model paper --json
  lasnet predict models/demo.safetensors --trace masks/
  lasnet predict models/demo.safetensors --macs 0.4
  lasnet predict models/demo.safetensors --plan)";

struct PredictCommand {
  LatencyOptions latency;
  std::string trace;
  std::optional<double> macs;  ///< of an operating point
  bool plan = false;           ///< print every operation
};

Json operator_json(const OperatorLatency& latency) {
  return {{"name", latency.name},
          {"us", 1e6 * latency.seconds},
          {"compute_us", 1e6 * latency.compute_s},
          {"offchip_us", 1e6 * latency.offchip_s},
          {"onchip_us", 1e6 * latency.onchip_s},
          {"launch_us", 1e6 * latency.launch_s},
          {"utilisation", latency.utilisation},
          {"tile", latency.tile},
          {"pixels", latency.pixels},
          {"macs", latency.macs},
          {"bytes", latency.bytes},
          {"bound", latency.bound()}};
}

Json operators_json(const std::vector<OperatorLatency>& operators) {
  Json json = Json::array();
  for (const OperatorLatency& latency : operators) json.push_back(operator_json(latency));
  return json;
}

/// Of `point`, unless it is null.
Json to_json(const ModelSpec& spec, const HardwareProfile& hardware, const LatencyQuery& query,
             const NetworkLatency& network, const std::optional<OperatingPoint>& point) {
  Json blocks = Json::array();
  for (size_t b = 0; b < network.blocks.size(); ++b) {
    const BlockLatency& block = network.blocks[b];
    const bool dynamic = spec.blocks[b].is_dynamic();
    blocks.push_back({{"name", block.name},
                      {"stage", block.stage + 1},
                      {"granularity", granularity_json(spec.blocks[b].granularity)},
                      {"static_us", 1e6 * block.static_s},
                      {"dynamic_us", 1e6 * block.dynamic_s},
                      {"schedule", dynamic ? Json(to_string(block.schedule)) : Json(nullptr)},
                      {"operators", operators_json(block.operators)}});
  }
  Json json = {{"arch", arch_json(spec)},
               {"hardware", hardware.name},
               {"measured", is_measured(hardware)},
               {"model", to_string(query.model)},
               {"batch", query.batch},
               {"precision", to_string(query.precision)},
               {"threads", query.threads},
               {"size", {query.size.height, query.size.width}}};
  json["rate"] = query.masks == nullptr && !point ? Json(query.rate) : Json(nullptr);
  if (point) json["operating_point"] = operating_point_json(*point);
  json["static_ms"] = 1e3 * network.static_s;
  json["dynamic_ms"] = 1e3 * network.dynamic_s;
  json["speedup"] = network.speedup();
  json["macs_ratio"] = network.macs_ratio;
  json["static_macs"] = static_macs(spec, query.size);
  json["blocks"] = blocks;
  json["fixed"] = operators_json(network.fixed);
  return json;
}

/// The operator that takes longest.
const OperatorLatency& slowest(const std::vector<OperatorLatency>& operators) {
  return *std::max_element(operators.begin(), operators.end(),
                           [](const auto& a, const auto& b) { return a.seconds < b.seconds; });
}

std::vector<std::string> entries(const BlockSchedule& plan) {
  const std::string text = to_string(plan);
  const std::vector<std::string_view> parts = split(text, ',');
  return {parts.begin(), parts.end()};
}

/// The schedule of most dynamic blocks; nothing if there are none.
std::optional<BlockSchedule> commonest_schedule(const ModelSpec& spec, const NetworkLatency& network) {
  std::map<std::string, int> counts;
  std::optional<BlockSchedule> commonest;
  int most = 0;
  for (size_t b = 0; b < network.blocks.size(); ++b) {
    if (!spec.blocks[b].is_dynamic()) continue;
    const BlockSchedule& plan = network.blocks[b].schedule;
    if (const int count = ++counts[to_string(plan)]; count > most) {
      most = count;
      commonest = plan;
    }
  }
  return commonest;
}

/// What `plan` has otherwise than `usual`, as --schedule takes it.
std::string departures(const BlockSchedule& plan, const BlockSchedule& usual) {
  const std::vector<std::string> own = entries(plan), other = entries(usual);
  std::string text;
  for (size_t i = 0; i < own.size(); ++i) {
    if (own[i] != other[i]) text += (text.empty() ? "" : ",") + own[i];
  }
  return text;
}

/// Which patches are active.
std::string describe_masks(const LatencyQuery& query, const std::optional<OperatingPoint>& point) {
  if (point) return fmt::format("operating point of {} of the MACs", format_percent(point->macs_ratio));
  return query.masks == nullptr ? fmt::format("r {:g}", query.rate) : "recorded masks";
}

std::string to_text(const ModelSpec& spec, const HardwareProfile& hardware, const LatencyQuery& query,
                    const NetworkLatency& network, const std::optional<OperatingPoint>& point) {
  std::string text = fmt::format(
      "{}  {}\n\n", bold(describe(spec.arch)),
      dim(fmt::format("{} x {} px, batch {}, {}, {}, {}", query.size.height, query.size.width, query.batch,
                      to_string(query.precision), describe_masks(query, point), describe(hardware))));
  const auto time = [](double seconds) { return format_fine_ms(1e3 * seconds); };
  Table table({"block", ">S", ">static", ">dynamic", ">speed-up", "slowest operator", "schedule"});
  const std::optional<BlockSchedule> usual = commonest_schedule(spec, network);
  for (size_t b = 0; b < network.blocks.size(); ++b) {
    const BlockLatency& block = network.blocks[b];
    const OperatorLatency& longest = slowest(block.operators);
    const bool dynamic = spec.blocks[b].is_dynamic();
    table.add_row({block.name, format_granularity(spec.blocks[b].granularity), time(block.static_s),
                   time(block.dynamic_s), fmt::format("{:.2f}x", block.static_s / block.dynamic_s),
                   fmt::format("{} ({})", longest.name, longest.bound()),
                   dynamic ? departures(block.schedule, *usual) : "-"});
  }
  double fixed_s = 0;
  for (const OperatorLatency& latency : network.fixed) fixed_s += latency.seconds;
  table.add_row({"stem and head", "", time(fixed_s), time(fixed_s), "", "", ""});
  table.add_rule();
  table.add_row({"network", "", format_ms(1e3 * network.static_s), format_ms(1e3 * network.dynamic_s),
                 fmt::format("{:.2f}x", network.speedup()), "", ""});
  text += table.to_string(2);
  const auto macs = static_cast<double>(static_macs(spec, query.size));
  text += fmt::format("\n  computes {} of the MACs per image, {}: {:.2f}x, if time went by them\n",
                      format_percent(network.macs_ratio), format_macs(network.macs_ratio * macs, macs),
                      1 / network.macs_ratio);
  text += profile_lines(hardware);
  if (usual)
    text += fmt::format("  {} {}\n", dim("schedule, unless the block says otherwise:"), to_string(*usual));
  return text;
}

/// Every operation of every block, in the order in which they run.
std::string plan_text(const NetworkLatency& network) {
  Table table({"block", "operation", ">pixels", ">MACs", ">bytes", ">time", "bound by", "tile"});
  const auto amount = [](double value) { return value > 0 ? format_count(value) : "-"; };
  const auto add = [&](std::string of, const std::vector<OperatorLatency>& operators) {
    for (const OperatorLatency& one : operators) {
      table.add_row({of, one.name, amount(one.pixels), amount(one.macs), amount(one.bytes),
                     format_fine_ms(1e3 * one.seconds), one.seconds > 0 ? one.bound() : "-", one.tile});
      of.clear();
    }
    table.add_rule();
  };
  for (const BlockLatency& block : network.blocks) add(block.name, block.operators);
  add("stem and head", network.fixed);
  return "\n" + table.to_string(2);
}

/// Of the model's, the one that --macs asks for; null without.
std::optional<OperatingPoint> asked_point(const PredictCommand& command, const Model& model) {
  if (!command.macs) return std::nullopt;
  if (model.operating_points.empty()) {
    fail(
        "--macs: {} has no operating points; lasnet tune finds them on labelled images, and lasnet search "
        "takes --macs without",
        command.latency.model.path);
  }
  return operating_point(model, {.macs = command.macs});
}

int predict(PredictCommand command) {
  ModelOptions& options = command.latency.model;
  if (is_architecture(options.path) && !options.granularity) options.granularity = {4, 4, 2, 1};
  const Model model = described_model(options);
  const ModelSpec& spec = model.spec;
  const std::optional<OperatingPoint> point = asked_point(command, model);
  const HardwareProfile hardware =
      open_hardware(command.latency.hardware, std::nullopt, command.latency.query.precision);
  LatencyQuery query = resolve_query(command.latency, hardware);
  warn_of_patches_beyond_maps(spec, network_geometry(spec, query.size));
  check_row_bands(spec, query.schedule.traversal);
  if (point) query.rates = point->rates;
  MaskSet masks;
  if (!command.trace.empty()) {
    masks = load_masks(command.trace, "--trace");
    query.masks = &masks;
    if (!command.latency.batch) query.batch = masks.begin()->second.shape.at(0);
  }
  const NetworkLatency network = predict_latency(spec, hardware, query);
  if (command.latency.json) {
    print_json(to_json(spec, hardware, query, network, point));
  } else {
    print(to_text(spec, hardware, query, network, point));
    if (command.plan) print(plan_text(network));
  }
  return 0;
}

}  // namespace

void add_predict(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "predict", "Predict latency on hardware that need not be here");
  const auto command = std::make_shared<PredictCommand>();
  add_latency_options(*sub, command->latency);
  sub->get_option("--granularity")
      ->description("S per stage or block; default 4-4-2-1 for an architecture, else the file's");
  sub->add_option("--trace", command->trace, "Recorded masks, as `lasnet forward --masks` writes them")
      ->type_name("DIR")
      ->excludes(sub->get_option("--rate"));
  sub->add_option("--macs", command->macs,
                  "Predict the operating point of the model file (lasnet tune finds them) with this share of "
                  "the static network's MACs")
      ->check(in_range(0, 1))
      ->type_name("F")
      ->excludes(sub->get_option("--rate"))
      ->excludes(sub->get_option("--trace"));
  sub->add_flag("--plan", command->plan,
                "Print every operation of every block too: pixels, MACs, bytes and time of a batch");
  sub->footer(kFooter);
  sub->callback([command, &action] { action = [command] { return predict(*command); }; });
}

}  // namespace lasnet::cli
