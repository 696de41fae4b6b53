// `lasnet search`: granularities and schedules from predicted latency.
#include <charconv>
#include <memory>

#include "commands.h"
#include "core/fail.h"
#include "core/file.h"
#include "latency_options.h"
#include "log.h"
#include "report/plot.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr const char* kFooter =
    R"(Chosen is, per stage or block, the smallest S whose predicted latency is within --tolerance of the least:
small patches follow objects more closely. "faster up to r": the rate at which masks stop being faster than
the static blocks; -: they never are. --macs and --budget-ms work backwards to a rate; train for the MAC ratio
that is printed.

Examples
  lasnet search resnet50 --hardware v100 --rate 0.5 --plot resnet50.svg
  lasnet search resnet101 --hardware tx2 --budget-ms 30)";

constexpr int kStaticColour = 7;  ///< the palette's black

struct SearchCommand {
  LatencyOptions latency;
  SearchOptions search;
  std::optional<double> budget_ms;
  bool per_stage = false;
  std::string plot;
};

std::vector<int> parse_candidates(const std::string& text) {
  std::vector<int> candidates;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    int value = 0;
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (error != std::errc() || stop != text.data() + end || value < 1) {
      fail("'{}': expected integers >= 1 with commas, e.g. 1,2,4,7", text);
    }
    candidates.push_back(value);
    begin = end + 1;
  }
  return candidates;
}

Json to_json(const GranularitySearch& found, const HardwareProfile& hardware, const LatencyQuery& query,
             const SearchOptions& options) {
  Json curves = Json::array();
  for (const SearchCurve& curve : found.curves) {
    std::vector<double> us;
    for (const double seconds : curve.seconds) us.push_back(1e6 * seconds);
    curves.push_back({{"stage", curve.stage + 1},
                      {"name", curve.name},
                      {"granularity", curve.granularity},
                      {"us", us},
                      {"us_at_rate", 1e6 * curve.seconds_at_rate},
                      {"static_us", 1e6 * curve.static_s},
                      {"break_even", curve.break_even},
                      {"chosen", curve.chosen},
                      {"coarse", curve.coarse}});
  }
  Json schedules = Json::array();
  for (const BlockLatency& block : found.latency.blocks) {
    schedules.push_back({{"name", block.name}, {"schedule", to_string(block.schedule)}});
  }
  return {{"hardware", hardware.name},
          {"batch", query.batch},
          {"precision", precision_name(query)},
          {"threads", query.threads},
          {"tolerance", options.tolerance},
          {"granularity", granularity_to_string(found.granularity)},
          {"rate", found.rate},
          {"macs_ratio", found.macs_ratio},
          {"static_ms", 1e3 * found.latency.static_s},
          {"dynamic_ms", 1e3 * found.latency.dynamic_s},
          {"speedup", found.latency.speedup()},
          {"rates", found.rates},
          {"curves", curves},
          {"schedules", schedules}};
}

std::string to_text(const GranularitySearch& found, const HardwareProfile& hardware,
                    const SearchCommand& command, const LatencyQuery& query) {
  std::string text = fmt::format("{}  {}\n\n", bold(command.latency.model.path),
                                 dim(fmt::format("batch {}, {}, r {:.3g}, {}", query.batch,
                                                 precision_name(query), found.rate, describe(hardware))));
  Table table({command.search.per_block ? "block" : "stage", ">S", ">latency", ">speed-up", ">faster up to r",
               "", ""});
  for (size_t i = 0; i < found.curves.size(); ++i) {
    const SearchCurve& curve = found.curves[i];
    const bool first = i == 0 || found.curves[i - 1].name != curve.name;
    if (first && i > 0 && !command.search.per_block) table.add_rule();
    table.add_row({first ? curve.name : "", std::to_string(curve.granularity),
                   format_us(1e6 * curve.seconds_at_rate),
                   fmt::format("{:.2f}x", curve.static_s / curve.seconds_at_rate),
                   curve.break_even > 0 ? fmt::format("{:.2f}", curve.break_even) : "-",
                   curve.chosen ? accent("chosen") : "", curve.coarse ? dim("more than half the map") : ""});
  }
  return text + table.to_string(2) +
         fmt::format("\n  granularity {}   static {}   dynamic {}   {} at {} of the MACs\n",
                     bold(granularity_to_string(found.granularity)), format_ms(1e3 * found.latency.static_s),
                     format_ms(1e3 * found.latency.dynamic_s), format_speedup(found.latency.speedup()),
                     format_percent(found.macs_ratio));
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
            .y = {.label = "predicted latency (us)", .min = 0}};
  plot.series.push_back({.label = "static",
                         .x = found.rates,
                         .y = std::vector<double>(found.rates.size(), 1e6 * curve.static_s),
                         .mark = SeriesMark::dashed_line,
                         .colour = kStaticColour});
  return plot;
}

/// Latency against rate, a plot for each stage.
void plot_curves(const GranularitySearch& found, const HardwareProfile& hardware, const std::string& model,
                 const std::string& path) {
  std::vector<Plot> plots;
  int colour = 0;
  for (const SearchCurve& curve : found.curves) {
    if (plots.empty() || plots.back().title != curve.name) {
      plots.push_back(empty_plot(found, curve));
      colour = 0;
    }
    std::vector<double> us;
    for (const double seconds : curve.seconds) us.push_back(1e6 * seconds);
    plots.back().series.push_back(
        {.label = fmt::format("S = {}{}", curve.granularity, curve.chosen ? " *" : ""),
         .x = found.rates,
         .y = us,
         .colour = colour++});
  }
  write_svg(plots,
            {.title = fmt::format("{} on {}; * chosen at r = {:.2g}", model, describe(hardware), found.rate)},
            path);
  log_info(fmt::format("{}: latency against rate", path));
}

int search(SearchCommand command) {
  const ModelSpec spec = described_spec(command.latency.model);
  const HardwareProfile hardware = open_hardware(command.latency.hardware);
  const LatencyQuery query = resolve_query(command.latency, hardware);
  if (!command.plot.empty()) check_writable(command.plot);
  if (command.budget_ms) command.search.budget_s = *command.budget_ms / 1e3;
  const GranularitySearch found = search_granularity(spec.arch, hardware, query, command.search);
  warn_if_slower(found, query, hardware.kind);
  if (!command.plot.empty()) plot_curves(found, hardware, command.latency.model.path, command.plot);
  if (command.latency.json) {
    print_json(to_json(found, hardware, query, command.search));
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
  add_parsed(*sub, "--candidates", "Granularities to choose from; default 1,2,4,7,8,14,28",
             [command](const std::string& text) { command->search.granularities = parse_candidates(text); })
      ->type_name("S,...");
  sub->add_flag("--whole-maps", command->search.whole_maps,
                "Also choose patches of more than half a map, of which an image computes all or next "
                "to nothing");
  add_plot_option(*sub, command->plot, "Write latency against rate, per stage, as SVG");
  sub->footer(kFooter);
  sub->callback([command, &action] { action = [command] { return search(*command); }; });
}

}  // namespace lasnet::cli
