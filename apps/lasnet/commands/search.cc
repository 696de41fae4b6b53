// `lasnet search`: granularities and schedules from predicted latency.
#include <memory>

#include "base/fail.h"
#include "base/file.h"
#include "base/numbers.h"
#include "base/text.h"
#include "commands.h"
#include "latency_options.h"
#include "log.h"
#include "model_options.h"
#include "output.h"
#include "report/plot.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr const char* kFooter =
    R"(Chosen is, per stage or block, the smallest S whose predicted latency is within --tolerance of the least:
small patches follow objects more closely. The default is 5 %, because nine of ten blocks are predicted to
within that on a measured CPU: a smaller gain may be the model's error. A patch of more than --max-patch-share
of its map is shown and not chosen. "saves": what another S would save of the choice's latency. "faster up to
r": the rate at which masks stop being faster than the static blocks; -: they never are. --macs and
--budget-ms work backwards to a rate; train for the MAC ratio that is printed.

Examples
  lasnet search resnet50 --hardware v100 --rate 0.5 --plot resnet50.svg
  lasnet search resnet101 --hardware tx2 --budget-ms 30
  lasnet search resnet101 --hardware v100 --candidates 1,2,4,7,layer --max-patch-share 0.25)";

constexpr int kStaticColour = 7;  ///< the palette's black

struct SearchCommand {
  LatencyOptions latency;
  SearchOptions search;
  std::optional<double> budget_ms;
  std::vector<int> granularity;  ///< of the maskers in the model file; empty: it has none
  bool per_stage = false;
  std::string plot;
};

std::vector<int> parse_candidates(const std::string& text) {
  std::vector<int> candidates;
  for (const std::string_view side : split_list(text)) {
    try {
      candidates.push_back(parse_patch_side(std::string(side)));
    } catch (const Error&) {
      fail("'{}': expected integers >= 1, or layer, with commas, e.g. 1,2,4,layer", text);
    }
  }
  return candidates;
}

/// Whether a budget was given that needs no masks.
bool static_fits(const GranularitySearch& found, const SearchOptions& options) {
  return options.budget_s && found.latency.static_s <= *options.budget_s;
}

/// The command that trains what was chosen; "" where that would gain nothing.
std::string train_command(const GranularitySearch& found, const SearchCommand& command) {
  const bool gains = found.latency.speedup() > 1 && found.macs_ratio < 1;
  if (!gains || static_fits(found, command.search)) return "";
  const ModelOptions& model = command.latency.model;
  std::string line = "lasnet train --data DIR";
  const auto add = [&](const char* name, const std::string& value) {
    line += fmt::format(" {} {}", name, shell_quoted(value));
  };
  const bool file = !is_architecture(model.path);
  if (file) add("--init", model.path);
  if (!file || model.arch) add("--arch", model.arch.value_or(model.path));
  if (model.width) add("--width", fmt::format("{}", *model.width));
  if (model.stem) add("--stem", to_string(*model.stem));
  if (model.se_pool) add("--se", to_string(*model.se_pool));
  const std::optional<MapSize> size = command.latency.size;
  if (size && size->height == size->width) add("--size", std::to_string(size->height));
  add("--granularity", granularity_to_string(found.granularity));
  add("--target", fmt::format("{:.3g}", found.macs_ratio));
  const bool others = !command.granularity.empty() && command.granularity != found.granularity;
  return line + (others ? " --fresh-maskers" : "") + " -o OUT";
}

Json to_json(const GranularitySearch& found, const HardwareProfile& hardware, const LatencyQuery& query,
             const SearchCommand& command) {
  const std::string train = train_command(found, command);
  Json curves = Json::array();
  for (const SearchCurve& curve : found.curves) {
    std::vector<double> us;
    for (const double seconds : curve.seconds) us.push_back(1e6 * seconds);
    curves.push_back({{"stage", curve.stage + 1},
                      {"name", curve.name},
                      {"granularity", granularity_json(curve.granularity)},
                      {"us", us},
                      {"us_at_rate", 1e6 * curve.seconds_at_rate},
                      {"static_us", 1e6 * curve.static_s},
                      {"break_even", curve.break_even},
                      {"chosen", curve.chosen},
                      {"patch_share", curve.patch_share},
                      {"coarse", curve.coarse},
                      {"saves", curve.saves}});
  }
  Json schedules = Json::array();
  for (const BlockLatency& block : found.latency.blocks) {
    schedules.push_back({{"name", block.name}, {"schedule", to_string(block.schedule)}});
  }
  return {{"hardware", hardware.name},
          {"measured", is_measured(hardware)},
          {"size", {query.size.height, query.size.width}},
          {"batch", query.batch},
          {"precision", to_string(query.precision)},
          {"threads", query.threads},
          {"tolerance", command.search.tolerance},
          {"max_patch_share", command.search.max_patch_share},
          {"granularity", granularity_to_string(found.granularity)},
          {"rate", found.rate},
          {"macs_ratio", found.macs_ratio},
          {"static_ms", 1e3 * found.latency.static_s},
          {"dynamic_ms", 1e3 * found.latency.dynamic_s},
          {"speedup", found.latency.speedup()},
          {"static_fits_budget",
           command.search.budget_s ? Json(static_fits(found, command.search)) : Json(nullptr)},
          {"train", train.empty() ? Json(nullptr) : Json(train)},
          {"rates", found.rates},
          {"curves", curves},
          {"schedules", schedules}};
}

/// What was chosen, what it brings, what that rests on, and how to train it.
std::string describe_choice(const GranularitySearch& found, const HardwareProfile& hardware,
                            const SearchCommand& command, const LatencyQuery& query) {
  const NetworkLatency& latency = found.latency;
  const auto line = [](const std::string& label, const std::string& text) {
    return fmt::format("  {}{:{}}{}\n", dim(label), "", 13 - label.size(), text);
  };
  std::string text = line("granularity", bold(granularity_to_string(found.granularity)));
  text += line("latency",
               fmt::format("{} instead of {} static, for {}: {}", format_fine_ms(1e3 * latency.dynamic_s),
                           format_fine_ms(1e3 * latency.static_s),
                           query.batch == 1 ? "one image" : fmt::format("{} images", query.batch),
                           bold(format_speedup(latency.speedup()))));
  text += line("MACs", fmt::format("{} at a rate of {:.3g}", format_percent(found.macs_ratio), found.rate));
  if (static_fits(found, command.search)) {
    text += line("budget",
                 fmt::format("{:g} ms: the static network already fits the budget", *command.budget_ms));
  }
  text += profile_lines(hardware);
  const std::string train = train_command(found, command);
  return train.empty() ? text : text + line("train", train);
}

/// Whether it was chosen, and whether its patches are too large for that.
std::string describe_status(const SearchCurve& curve) {
  const std::string chosen = curve.chosen ? accent("chosen") : "";
  const std::string coarse =
      curve.coarse ? dim(curve.patch_share == 1
                             ? "a patch is the map"
                             : fmt::format("a patch is {} of the map", format_percent(curve.patch_share)))
                   : "";
  return chosen + (chosen.empty() || coarse.empty() ? "" : ", ") + coarse;
}

std::string to_text(const GranularitySearch& found, const HardwareProfile& hardware,
                    const SearchCommand& command, const LatencyQuery& query) {
  std::string text =
      fmt::format("{}  {}\n\n", bold(command.latency.model.path),
                  dim(fmt::format("{} x {} px, batch {}, {}, {}", query.size.height, query.size.width,
                                  query.batch, to_string(query.precision), describe(hardware))));
  Table table({command.search.per_block ? "block" : "stage", ">S", ">latency", ">speed-up", ">faster up to r",
               ">saves", ""});
  for (size_t i = 0; i < found.curves.size(); ++i) {
    const SearchCurve& curve = found.curves[i];
    const bool first = i == 0 || found.curves[i - 1].name != curve.name;
    if (first && i > 0 && !command.search.per_block) table.add_rule();
    table.add_row({first ? curve.name : "", format_granularity(curve.granularity),
                   format_fine_ms(1e3 * curve.seconds_at_rate),
                   fmt::format("{:.2f}x", curve.static_s / curve.seconds_at_rate),
                   curve.break_even > 0 ? fmt::format("{:.2f}", curve.break_even) : "-",
                   curve.chosen ? "" : format_percent(curve.saves), describe_status(curve)});
  }
  return text + table.to_string(2) + "\n" + describe_choice(found, hardware, command, query);
}

void warn_if_slower(const GranularitySearch& found, const LatencyQuery& query, HardwareKind kind) {
  if (found.latency.speedup() >= 1) return;
  log_warning(fmt::format("no granularity is faster than the static network at this rate on this hardware{}",
                          kind != HardwareKind::cpu && query.batch == 1
                              ? ", for one image at a time; try larger batches (--batch)"
                              : ""));
}

/// A plot of one stage or block, with what it takes without masks.
Plot empty_plot(const GranularitySearch& found, const SearchCurve& curve) {
  Plot plot{.title = curve.name,
            .x = {.label = "activation rate r"},
            .y = {.label = "predicted latency (ms)", .min = 0}};
  plot.series.push_back({.label = "static",
                         .x = found.rates,
                         .y = std::vector<double>(found.rates.size(), 1e3 * curve.static_s),
                         .mark = SeriesMark::dashed_line,
                         .colour = kStaticColour});
  return plot;
}

/// Latency against rate, a plot for each stage, in which the choice is pointed out.
void plot_curves(const GranularitySearch& found, const HardwareProfile& hardware, const LatencyQuery& query,
                 const std::string& model, const std::string& path) {
  std::vector<Plot> plots;
  int colour = 0;
  for (const SearchCurve& curve : found.curves) {
    if (plots.empty() || plots.back().title != curve.name) {
      plots.push_back(empty_plot(found, curve));
      colour = 0;
    }
    std::vector<double> ms;
    for (const double seconds : curve.seconds) ms.push_back(1e3 * seconds);
    const std::string label = "S = " + format_granularity(curve.granularity);
    plots.back().series.push_back(
        {.label = label, .x = found.rates, .y = ms, .colour = colour++, .emphasised = curve.chosen});
    if (curve.chosen) plots.back().callouts.push_back({found.rate, 1e3 * curve.seconds_at_rate, label});
  }
  write_svg(plots,
            {.title = fmt::format("{} on {}, batch {}; chosen for r = {:.2g}", model, describe(hardware),
                                  query.batch, found.rate)},
            path);
  log_info(fmt::format("{}: latency against rate", path));
}

int search(SearchCommand command) {
  const ArchConfig arch = described_model(command.latency.model).spec.arch;
  command.granularity = arch.granularity;
  const HardwareProfile hardware =
      open_hardware(command.latency.hardware, std::nullopt, command.latency.query.precision);
  const LatencyQuery query = resolve_query(command.latency, hardware);
  if (!command.plot.empty()) check_writable(command.plot);
  if (command.budget_ms) command.search.budget_s = *command.budget_ms / 1e3;
  const GranularitySearch found = search_granularity(arch, hardware, query, command.search);
  warn_if_slower(found, query, hardware.kind());
  if (!command.plot.empty()) plot_curves(found, hardware, query, command.latency.model.path, command.plot);
  if (command.latency.json) {
    print_json(to_json(found, hardware, query, command));
  } else {
    print(to_text(found, hardware, command, query));
  }
  return 0;
}

}  // namespace

void add_search(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "search", "Choose granularities and schedules from predicted latency");
  const auto command = std::make_shared<SearchCommand>();
  add_latency_options(*sub, command->latency);
  sub->remove_option(sub->get_option("--granularity"));  // it is what is searched
  const auto rate = sub->get_option("--rate");
  const auto macs =
      sub->add_option("--macs", command->search.macs, "Choose at the rate that gives this MAC ratio")
          ->check(in_range(0, 1))
          ->type_name("F")
          ->excludes(rate);
  sub->add_option("--budget-ms", command->budget_ms,
                  "Choose at the largest rate whose latency is within this")
      ->check(above_zero())
      ->type_name("MS")
      ->excludes(rate)
      ->excludes(macs);
  const auto per_stage = sub->add_flag("--per-stage", command->per_stage, "One S per stage (default)");
  sub->add_flag("--per-block", command->search.per_block, "One S per block")->excludes(per_stage);
  sub->add_option("--tolerance", command->search.tolerance,
                  "Share over the least latency at which a smaller S wins")
      ->check(in_range(0, 10))
      ->type_name("F")
      ->capture_default_str();
  add_parsed(*sub, "--candidates", "Granularities to choose from, layer among them; default 1,2,4,7,8,14,28",
             [command](const std::string& text) { command->search.granularities = parse_candidates(text); })
      ->type_name("S,...");
  const auto share =
      sub->add_option("--max-patch-share", command->search.max_patch_share,
                      "Largest share of a stage's map that one patch may cover; default 0.0625");
  share->check(in_range(1e-6, 1))->type_name("F");
  sub->add_flag_callback(
         "--whole-maps", [command] { command->search.max_patch_share = 1; },
         "The same as --max-patch-share 1: patches may be as large as the map")
      ->excludes(share);
  add_plot_option(*sub, command->plot, "Write latency against rate, per stage, as SVG");
  sub->footer(kFooter);
  sub->callback([command, &action] { action = [command] { return search(*command); }; });
}

}  // namespace lasnet::cli
