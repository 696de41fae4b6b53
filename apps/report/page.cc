#include "page.h"

#include <algorithm>
#include <filesystem>
#include <regex>

#include "base/fail.h"
#include "base/file.h"
#include "base64.h"
#include "figures.h"
#include "parts.h"
#include "report/markup.h"
#include "tables.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

/// Numbers of documents, in words that people read.
std::string times(double ratio) { return fmt::format("{:.2f}×", ratio); }
std::string ms_text(double ms) { return fmt::format("{:.3g} ms", ms); }
double number(const Json& value) { return value.get<double>(); }

std::string table_html(const DataTable& table) {
  const auto is_number = [](const std::string& text) {
    return !text.empty() && text.find_first_not_of("0123456789.+-e") == std::string::npos;
  };
  std::string rows;
  for (const auto& row : table.rows) {
    rows += "<tr>";
    for (const std::string& cell : row)
      rows += fmt::format("<td{}>{}</td>", is_number(cell) ? " class=\"n\"" : "", escape_markup(cell));
    rows += "</tr>";
  }
  std::string head;
  for (const std::string& column : table.columns)
    head += fmt::format("<th scope=\"col\">{}</th>", escape_markup(column));
  return fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table "
      "data-csv=\"{1}\"><caption>{0} "
      "<a "
      "href=\"data/{1}.csv\">{1}.csv</a></caption><thead><tr>{2}</tr></thead><tbody>{3}</tbody></table></"
      "div>\n",
      escape_markup(table.caption), table.name, head, rows);
}

/// All numbers of a part, folded away.
std::string numbers_html(const std::string& part, const Json& data) {
  std::string tables;
  for (const DataTable& table : tables_of(part, data)) {
    if (!table.rows.empty()) tables += table_html(table);
  }
  return fmt::format(
      "<details class=\"numbers\"><summary>All numbers of this section</summary>{}<p class=\"small\">As "
      "JSON: <a "
      "href=\"data/{}.json\">{}.json</a></p></details>\n",
      tables, part, part);
}

std::string command_html(const Json& command) {
  return fmt::format("<p class=\"command\"><span>Made like</span> <code>{}</code></p>\n",
                     escape_markup(command.get<std::string>()));
}

/// The picture's text without what the page's style says again.
std::string styled_by_page(std::string svg) {
  static const std::regex presentation(
      " (font-family|font-size|fill-opacity)=\"[^\"]*\"| (stroke|fill)=\"#[0-9a-f]+\"");
  svg = std::regex_replace(svg, presentation, "");
  std::erase(svg, '\n');
  return svg;
}

/// One for plots whose series look alike.
std::string legend_html(const Plot& plot) {
  std::string entries;
  for (const PlotSeries& series : plot.series) {
    if (series.label.empty() || !series.in_legend) continue;
    entries += fmt::format("<span><i class=\"b{}\"></i>{}</span>", series.colour.value_or(0),
                           escape_markup(series.label));
  }
  return entries.empty() ? "" : "<p class=\"legend\">" + entries + "</p>";
}

/// Plots beside each other, as many as there is room for. Many are drawn smaller, so that their texts stay
/// legible.
std::string figure_html(const Figure& figure, const std::string& caption) {
  const bool many = figure.plots.size() > 1;
  const PlotLayout layout{.columns = 1, .width = many ? 330 : 400, .height = many ? 250 : 300};
  std::string plots, legend;
  for (Plot plot : figure.plots) {
    if (many) plot.legend = false;
    const std::string svg = styled_by_page(to_svg({plot}, layout));
    const size_t end = svg.find('>');
    plots += fmt::format("<div class=\"plot\">{} role=\"img\" aria-label=\"{}: {} over {}\"{}</div>\n",
                         svg.substr(0, end), escape_markup(plot.title), escape_markup(plot.y.label),
                         escape_markup(plot.x.label), svg.substr(end));
  }
  if (many) legend = legend_html(figure.plots.front());
  return fmt::format(
      "<figure data-figure=\"{}\">{}<div class=\"plots {}\">{}</div><figcaption>{}{}</figcaption></figure>\n",
      figure.name, legend, many ? "many" : "one", plots, escape_markup(caption),
      figure.note.empty() ? "" : " <em>" + escape_markup(figure.note) + "</em>");
}

struct Bar {
  std::string name;
  double value = 0;
  std::string text;
  std::string style;  ///< class of its colour
};

/// Bars from zero to the largest.
std::string bars_html(const std::string& name, const std::string& label, const std::vector<Bar>& bars,
                      const std::string& caption) {
  double most = 0;
  for (const Bar& bar : bars) most = std::max(most, bar.value);
  std::string rows;
  for (const Bar& bar : bars) {
    rows += fmt::format(
        "<div class=\"bar\"><span class=\"bar-name\">{}</span><span class=\"track\"><span class=\"fill mark "
        "{}\" "
        "style=\"width:{:.2f}%\" data-tip=\"{}: {}\"></span></span><span "
        "class=\"bar-value\">{}</span></div>\n",
        escape_markup(bar.name), bar.style, most > 0 ? 100 * bar.value / most : 0, escape_markup(bar.name),
        escape_markup(bar.text), escape_markup(bar.text));
  }
  return fmt::format(
      "<figure data-figure=\"{}\"><div class=\"bars\" role=\"group\" "
      "aria-label=\"{}\">{}</div><figcaption>{} <em>Bars begin "
      "at zero.</em></figcaption></figure>\n",
      name, escape_markup(label), rows, escape_markup(caption));
}

std::string tile(const std::string& value, const std::string& what, const std::string& detail) {
  return fmt::format("<div class=\"tile\"><strong>{}</strong><span>{}</span><small>{}</small></div>\n",
                     escape_markup(value), escape_markup(what), escape_markup(detail));
}

std::string data_uri(const std::string& output, const std::string& picture) {
  const std::vector<uint8_t> bytes = read_file((std::filesystem::path(output) / picture).string());
  return "data:image/jpeg;base64," + to_base64({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::string regions_html(const Report& report, const Json& data) {
  std::string buttons;
  size_t index = 0;
  for (const Json& photograph : data["photographs"]) {
    const std::string file = photograph["file"].get<std::string>();
    const Json& best = photograph["classes"][0];
    const std::string seen =
        fmt::format("{}, {}", best["class"].get<std::string>(), format_percent(number(best["probability"])));
    buttons += fmt::format(
        "<button type=\"button\" class=\"thumb\" data-photograph=\"{}\" aria-pressed=\"{}\"><img "
        "decoding=\"async\" alt=\"{}\" "
        "src=\"{}\" "
        "width=\"{}\" height=\"{}\"><span>{}</span></button>\n",
        index, index == 0 ? "true" : "false", escape_markup(file),
        data_uri(report.output, photograph["picture"].get<std::string>()), photograph["width"].get<int>(),
        photograph["height"].get<int>(), escape_markup(seen));
    ++index;
  }
  return fmt::format(
      R"(<div class="thumbs" role="group" aria-label="photographs">{}</div>
<figure data-figure="regions" id="viewer">
<div class="pair">
<div class="view"><canvas id="heat" role="img" aria-label="heat map"></canvas><p class="small legend-line"><span>fewest blocks</span><span class="ramp" id="ramp"></span><span>most blocks</span></p></div>
<div class="view"><canvas id="mask" tabindex="0" role="img" aria-label="mask of a block; arrow keys go from patch to patch"></canvas>
<p class="slider"><label for="block">block</label><input id="block" type="range" min="0" max="0" value="0" step="1"><output id="block-name" for="block"></output></p></div>
</div>
<p id="patch" class="readout" aria-live="polite">Point at a patch, tap it, or use the arrow keys on the mask.</p>
<p id="photograph" class="readout"></p>
<div id="sheet" class="sheet" role="group" aria-label="masks of all blocks, and the share of patches that each computed"></div>
<figcaption>Left: the brighter a place, the more blocks computed it. Right: what the chosen block left out is darkened. Below: every block; its bar is the share of pixels that it computed. <em>Bars begin at zero.</em></figcaption>
</figure>
<noscript><p>The masks are drawn by a script. Their rates are in the numbers below.</p></noscript>
)",
      buttons);
}

std::string prediction_html(const Json& data) {
  const Json& errors = data["errors"];
  std::string text = fmt::format(
      "<div class=\"tiles\">{}{}{}{}</div>\n",
      tile(format_percent(number(errors["mape"])), "mean error of a block's time",
           fmt::format("{} runs of blocks", errors["runs"].get<int64_t>())),
      tile(format_percent(number(errors["within_10"])), "within 10 %",
           format_percent(number(errors["within_5"])) + " within 5 %"),
      tile(fmt::format("{:.2f}", number(errors["spearman_mean"])), "rank correlation over S",
           "1: the same order"),
      tile(format_percent(number(errors["regret_mean"])), "regret of the predicted S",
           "longer than with the best S; at most " + format_percent(number(errors["regret_max"]))));
  text += figure_html(
      prediction_figure(data),
      "Lines are predicted, points measured: the mean of a stage's identity blocks. The ring is the S that a "
      "search over predictions takes at the photographs' mean rate.");
  text += figure_html(scatter_figure(data), "On the dashed line a prediction is exact.");
  const double rate = number(data["rate"]);
  for (const Json& hardware : data["elsewhere"]) {
    text += fmt::format(
        "<details class=\"elsewhere\"><summary><b>{}</b> <span class=\"badge\">predicted, not "
        "measured</span> S = {}, {} in batches of "
        "{}</summary>{}</details>\n",
        escape_markup(hardware["description"].get<std::string>()),
        escape_markup(hardware["granularity"].get<std::string>()), times(number(hardware["speedup"])),
        hardware["batch"].get<int64_t>(),
        figure_html(elsewhere_figure(hardware, rate),
                    "Predictions alone, from published numbers of that hardware: " +
                        hardware["source"].get<std::string>() + "."));
  }
  return text;
}

std::string break_even_text(double density) {
  if (density >= 0.98) return "Random masks. A sparse run is never clearly slower than a dense one.";
  return fmt::format("Random masks. Up to {:.0f} % of active patches a sparse run is the faster one.",
                     100 * density);
}

/// Other engines' times, which were measured before this report.
std::string peers_html(const Json& comparison) {
  std::vector<Bar> bars;
  for (const Json& network : comparison["networks"]) {
    const std::string name = network["name"].get<std::string>();
    const double ms = number(network["median_ms"]);
    bars.push_back({name, ms, fmt::format("{} · {}", ms_text(ms), times(number(network["slower"]["median"]))),
                    name == "lasnet, sparse"  ? "s0"
                    : name == "lasnet, dense" ? "s5"
                                              : "s3"});
  }
  const auto text = [&](const char* key) { return comparison[key].get<std::string>(); };
  const int threads = comparison["threads"].get<int>();
  const auto batch = comparison["batch"].get<int64_t>();
  const std::string caption = fmt::format(
      "{} thread{}, {} image{} at a time, {}. Behind a time: how many times as long as lasnet's sparse run. "
      "Not measured in this "
      "run: {}, measured by bench/peers/compare.py on {} ({}), in {} rounds.",
      threads, threads == 1 ? "" : "s", batch, batch == 1 ? "" : "s", text("precision"), text("file"),
      text("date"), text("processor"), comparison["rounds"].get<int>());
  return bars_html("peers_" + text("file"), "time of other engines", bars, caption);
}

std::string speed_html(const Json& data) {
  std::string text;
  for (const Json& run : data["runs"]) {
    const int threads = run["threads"].get<int>();
    const auto batch = run["batch"].get<int64_t>();
    std::vector<Bar> bars;
    const auto add = [&](const std::string& name, const Json& entry, const std::string& style) {
      const double ms = number(entry["quartiles_ms"]["median"]);
      bars.push_back({name, ms, ms_text(ms), style});
    };
    const Json& baseline = run["baseline"];
    if (!baseline.is_null()) add(baseline["name"].get<std::string>() + ", dense", baseline, "s3");
    add("lasnet, dense", run["dense"], "s5");
    add("lasnet, sparse", run["sparse"], "s0");
    std::string caption = fmt::format("{} thread{}, {} image{} at a time: {} over lasnet's dense run",
                                      threads, threads == 1 ? "" : "s", batch, batch == 1 ? "" : "s",
                                      times(number(run["speedup"]["median"])));
    if (!baseline.is_null())
      caption += fmt::format(", {} over {}", times(number(baseline["speedup"]["median"])),
                             baseline["name"].get<std::string>());
    caption += fmt::format(". By its MACs it could be {}: the engine reaches {}.",
                           times(number(run["theory_speedup"])), format_percent(number(run["efficiency"])));
    text += bars_html(fmt::format("speed_{}_{}", threads, batch), caption, bars, caption);
  }
  if (data.contains("peers")) {
    for (const Json& comparison : data["peers"]) text += peers_html(comparison);
  }
  text = "<div class=\"columns two\">" + text + "</div>\n";
  if (data["runs"][0]["baseline"].is_null())
    text += "<p class=\"note\">This build has no oneDNN, so no other library's dense network ran.</p>\n";
  text += "<div class=\"columns\">" +
          figure_html(density_figure(data), break_even_text(number(data["break_even"])));
  const Figure accuracy = accuracy_figure(data);
  const std::string source = data["accuracy"]["source"].get<std::string>();
  if (!accuracy.plots.empty()) {
    text += figure_html(accuracy, fmt::format("Times are measured in this run. Accuracy: {} ({} images).",
                                              source, data["accuracy"]["images"].get<int64_t>()));
  } else {
    text += fmt::format("<p class=\"note\">Accuracy: {}.</p>", escape_markup(source));
  }
  text +=
      "</div>\n<p class=\"note\"><b>The paper reports</b> for a ResNet-101 on ImageNet at equal accuracy 36 "
      "% less latency on "
      "a V100 and 46 % less on a Jetson TX2 (Han et al., NeurIPS 2022). These two numbers were not measured "
      "here.</p>\n";
  return text;
}

/// What is known of accuracy over S.
std::string sweep_html(const Json& data) {
  if (!data.contains("sweep")) {
    return "<p class=\"note\">Accuracy over S needs one training run for each S. No such sweep is recorded "
           "with "
           "this model, so the page shows none. Fusion changes no result but for rounding.</p>\n";
  }
  const Json& sweep = data["sweep"];
  const std::string processor = sweep["processor"].get<std::string>();
  return "<div class=\"columns\">" +
         figure_html(
             sweep_figure(data),
             fmt::format("Not measured in this run. Recorded in {}{}. Fusion changes no result but for "
                         "rounding.",
                         sweep["source"].get<std::string>(),
                         processor.empty() ? "" : ", whose times are of " + processor)) +
         "</div>\n";
}

std::string ablations_html(const Json& data) {
  std::vector<Bar> bars;
  for (const Json& row : data["fusions"]["rows"]) {
    const std::string name = row["name"].get<std::string>();
    const double ms = number(row["ms"]["median"]);
    bars.push_back({name, ms, fmt::format("{} · {}", ms_text(ms), times(number(row["against_unfused"]))),
                    name == "dense"           ? "s5"
                    : name == "nothing fused" ? "s1"
                                              : "s0"});
  }
  return "<div class=\"columns\">" +
         figure_html(granularity_figure(data),
                     fmt::format("Random weights and random masks of the model's architecture. Every S "
                                 "computes {} of the MACs, so "
                                 "the MACs alone would give one time.",
                                 format_percent(number(data["granularities"]["macs_ratio"])))) +
         bars_html("fusion", "time by what is fused", bars,
                   "The model's own masks on the photographs. Only the number and order of passes differ. "
                   "Behind a time: how much faster it is than "
                   "with nothing fused.") +
         "</div>\n" + sweep_html(data);
}

/// A block's work as one bar, from zero.
std::string work_bar(const Json& block, const char* run, const Json& kinds, double most) {
  std::string segments;
  double sum = 0;
  int colour = 0;
  for (const Json& kind : kinds) {
    const std::string name = kind.get<std::string>();
    const double ms = number(block[run][name]);
    sum += ms;
    segments += fmt::format(
        "<span class=\"seg mark k{}\" style=\"width:{:.3f}%\" data-tip=\"{}, {}: {} {}\"></span>", colour++,
        100 * ms / most, escape_markup(block["name"].get<std::string>()), run, name, ms_text(ms));
  }
  return fmt::format(
      "<span class=\"work {}\"><span class=\"track\">{}</span><span class=\"bar-value\">{}</span></span>",
      run, segments, fmt::format("{:.3g}", sum));
}

double block_ms(const Json& block, const char* run) {
  double sum = 0;
  for (const auto& [kind, ms] : block[run].items()) sum += ms.get<double>();
  return sum;
}

/// The network along the time axis, block after block.
std::string line_of_blocks(const Json& data, const char* run, double most) {
  const double outside = number(data[fmt::format("{}_outside_ms", run)]);
  std::string segments = fmt::format(
      "<span class=\"seg mark outside\" style=\"width:{:.3f}%\" data-tip=\"stem and head, {}: {}\"></span>",
      100 * outside / most, run, ms_text(outside));
  double sum = outside;
  for (const Json& block : data["blocks"]) {
    const double ms = block_ms(block, run);
    sum += ms;
    segments += fmt::format(
        "<span class=\"seg mark stage{}\" style=\"width:{:.3f}%\" data-tip=\"{}, {}: {}\"></span>",
        block["stage"].get<int>(), 100 * ms / most, escape_markup(block["name"].get<std::string>()), run,
        ms_text(ms));
  }
  return fmt::format(
      "<div class=\"line\"><span class=\"bar-name\">{}</span><span class=\"track\">{}</span><span "
      "class=\"bar-value\">{}</span></div>\n",
      run, segments, ms_text(sum));
}

std::string blocks_html(const Json& data) {
  double most = 0, most_block = 0;
  for (const char* run : {"dense", "sparse"}) {
    double sum = number(data[fmt::format("{}_outside_ms", run)]);
    for (const Json& block : data["blocks"]) {
      const double ms = block_ms(block, run);
      sum += ms;
      most_block = std::max(most_block, ms);
    }
    most = std::max(most, sum);
  }
  std::string rows, legend, axis;
  for (const Json& block : data["blocks"]) {
    rows += fmt::format(
        "<div class=\"work-row\"><span class=\"bar-name\">{} <small>{}</small></span><span "
        "class=\"works\">{}{}</span></div>\n",
        escape_markup(block["name"].get<std::string>()), format_percent(number(block["rate"])),
        work_bar(block, "dense", data["kinds"], most_block),
        work_bar(block, "sparse", data["kinds"], most_block));
  }
  int colour = 0;
  for (const char* name :
       {"masker", "lists", "conv1", "conv2", "last convolution, projection, addition", "rest"})
    legend += fmt::format("<span><i class=\"k{}\"></i>{}</span>", colour++, name);
  for (const double tick : axis_ticks(0, most, AxisScale::linear, 6))
    axis += fmt::format("<span style=\"left:{:.2f}%\">{:g}</span>", 100 * tick / most, tick);
  return fmt::format(
      R"(<figure data-figure="timeline"><div class="lines">{}{}<div class="line axis"><span class="bar-name"></span><span class="ticks">{}</span><span class="bar-value">ms</span></div></div><figcaption>The whole network along time: stem and head, then block after block; shades tell stages apart. <em>Time begins at zero.</em></figcaption></figure>
<figure data-figure="work"><p class="legend">{}</p><div class="works-all">{}</div><figcaption>Each block: dense above, sparse below, and the share of pixels that it computed. A projection runs in one loop with the last convolution. <em>Bars begin at zero; the longest is {}.</em></figcaption></figure>
)",
      line_of_blocks(data, "dense", most), line_of_blocks(data, "sparse", most), axis, legend, rows,
      ms_text(most_block));
}

std::string knob_html(const Json& data) {
  std::string caption = "Times and MACs are measured on the photographs, one image at a time on one thread.";
  if (!data["top1_source"].is_null()) {
    caption += " Accuracy: " + data["top1_source"].get<std::string>() + ".";
  } else {
    caption += fmt::format(
        " The photographs have no labels. So agreement stands in for accuracy: how many of {} photographs "
        "get the class of the dense "
        "run, and how sure the network is of it.",
        data["photographs"].get<int64_t>());
  }
  return figure_html(knob_figure(data), caption);
}

std::string machine_html(const Report& report, const Json& data) {
  std::vector<Bar> bars;
  double total = 0;
  for (const Part& part : parts()) {
    const auto seconds = report.seconds.find(part.name);
    if (seconds == report.seconds.end()) continue;
    total += seconds->second;
    bars.push_back({part.title, seconds->second, fmt::format("{:.1f} s", seconds->second), "s0"});
  }
  const auto text = [&](const char* key) { return escape_markup(data[key].get<std::string>()); };
  std::string facts;
  const auto fact = [&](const char* what, const std::string& value) {
    facts += fmt::format("<div><dt>{}</dt><dd>{}</dd></div>", what, value);
  };
  fact("processor", text("processor"));
  fact("cores", fmt::format("{}, {} threads", data["cores"].get<int>(), data["processors"].get<int>()));
  fact("kernels", fmt::format("{}, {:.0f} GFLOP/s a core", text("isa"), number(data["peak_gflops"])));
  fact("caches", fmt::format("L1 {:.0f} KiB, L2 {:.0f} KiB, L3 {:.0f} MiB", number(data["l1_kib"]),
                             number(data["l2_kib"]), number(data["l3_kib"]) / 1024));
  fact("lasnet", fmt::format("{}, {}", text("version"), text("compiler")));
  fact("date", text("date"));
  fact("predictions from", text("profile"));
  fact("noise",
       fmt::format("{} between two equal runs, median of {} pairs",
                   format_percent(number(data["noise"]["median"])), data["noise"]["pairs"].get<int>()));
  return "<dl class=\"facts\">" + facts + "</dl>\n" +
         bars_html("parts", "seconds that each part of the report took", bars,
                   fmt::format("How long each part took: {:.0f} s in all.", total));
}

/// What a part shows, in a sentence.
std::string lead_of(const std::string& part, const Report& report) {
  const Json& data = report.documents.at(part);
  if (part == "regions")
    return "Each block of the network computes only the patches that its masker selects. They follow what is "
           "in the photograph.";
  if (part == "prediction") {
    return fmt::format(
        "A latency model predicts each block's time from S, the rate and this machine's profile. Its "
        "predictions choose S = {} here, "
        "before anything is trained or run.",
        data["here"]["granularity"].get<std::string>());
  }
  if (part == "speed") {
    return fmt::format(
        "On its own masks the network runs {} as fast as the dense one, on one thread, image by image.",
        times(number(data["runs"][0]["speedup"]["median"])));
  }
  if (part == "ablations")
    return "At equal MACs the time depends on the side S of a patch, and on which operators are fused.";
  if (part == "blocks") {
    return fmt::format("A dense image takes {}, a sparse one {}. Colours show what the time goes to.",
                       ms_text(number(data["dense_ms"])), ms_text(number(data["sparse_ms"])));
  }
  if (part == "knob")
    return "One number, the threshold of the maskers, turns the same weights from nearly everything to "
           "little.";
  return "All that is measured on this page was measured on this machine.";
}

std::string section_html(const Part& part, size_t place, const Report& report) {
  const Json& data = report.documents.at(part.name);
  const std::string name = part.name;
  std::string body;
  if (name == "regions") body = regions_html(report, data);
  if (name == "prediction") body = prediction_html(data);
  if (name == "speed") body = speed_html(data);
  if (name == "ablations") body = ablations_html(data);
  if (name == "blocks") body = blocks_html(data);
  if (name == "knob") body = knob_html(data);
  if (name == "machine") body = machine_html(report, data);
  std::string commands;
  if (name == "ablations") {
    commands = command_html(data["granularities"]["command"]) + command_html(data["fusions"]["command"]);
  } else {
    commands = command_html(data["command"]);
  }
  if (name == "speed") commands += command_html(data["density_command"]);
  return fmt::format(
      "<section id=\"{0}\" aria-labelledby=\"{0}-title\"><h2 id=\"{0}-title\"><span>{1}</span> {2}</h2><p "
      "class=\"lead\">{3}</p>\n{4}{5}{6}</section>\n",
      name, place, part.title, escape_markup(lead_of(name, report)), body, numbers_html(name, data),
      commands);
}

std::string headline(const Report& report) {
  const Json& speed = report.documents.at("speed")["runs"][0];
  const Json& errors = report.documents.at("prediction")["errors"];
  std::string tiles =
      tile(times(number(speed["speedup"]["median"])), "as fast as dense", "one image, one thread");
  const Json& baseline = speed["baseline"];
  if (!baseline.is_null()) {
    tiles += tile(times(number(baseline["speedup"]["median"])),
                  "as fast as " + baseline["name"].get<std::string>(), "its fastest dense network here");
  }
  tiles += tile(format_percent(number(speed["macs_ratio"])), "of the MACs", "mean over the photographs");
  tiles += tile(format_percent(number(errors["mape"])), "error of predicted times",
                format_percent(number(errors["within_10"])) + " within 10 %");
  return tiles;
}

/// Numbers with four significant digits: the page shows no more.
Json shortened(const Json& value) {
  if (value.is_number_float()) return Json::parse(fmt::format("{:.4g}", value.get<double>()));
  Json copy = value;
  if (copy.is_structured()) {
    for (Json& one : copy) one = shortened(one);
  }
  return copy;
}

/// What the script draws photographs from, and no more. No "</script" can be in it.
std::string script_data(const Json& regions) {
  Json photographs = regions["photographs"];
  for (Json& photograph : photographs) {
    for (const char* unused : {"picture", "static_macs"}) photograph.erase(unused);
    for (Json& block : photograph["blocks"]) {
      for (const char* unused : {"stage", "dilated_rate", "static_macs", "dense_ms"}) block.erase(unused);
    }
  }

  std::string text = shortened(photographs).dump(-1, ' ', true, Json::error_handler_t::replace);
  for (size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at))
    text.replace(at, 1, "\\u003c");
  return text;
}

/// `text` with every "{{name}}" replaced.
std::string filled(const std::string& text, const std::map<std::string, std::string>& values) {
  std::string result;
  size_t from = 0;
  for (size_t at = text.find("{{"); at != std::string::npos; at = text.find("{{", from)) {
    const size_t end = text.find("}}", at);
    result += text.substr(from, at - from) + values.at(text.substr(at + 2, end - at - 2));
    from = end + 2;
  }
  return result + text.substr(from);
}

}  // namespace

std::string page_of(const Report& report) {
  const PageFiles files = page_files();
  const Json& machine = report.documents.at("machine");
  const Json& prediction = report.documents.at("prediction");
  std::vector<std::string> sections;
  std::string links;
  for (const Part& part : parts()) {
    sections.push_back(section_html(part, sections.size() + 1, report));
    links += fmt::format("<a href=\"#{}\">{}</a>\n", part.name, part.title);
  }
  return filled(
      files.html,
      {{"title", escape_markup("lasnet report: " + std::filesystem::path(report.model).filename().string())},
       {"model", escape_markup(report.model)},
       {"about", escape_markup(fmt::format(
                     "{}, S = {}, {} × {} px · {} · {} · {}", prediction["architecture"].get<std::string>(),
                     prediction["granularity"].get<std::string>(), prediction["size"][0].get<int>(),
                     prediction["size"][1].get<int>(), machine["processor"].get<std::string>(),
                     machine["isa"].get<std::string>(), machine["date"].get<std::string>()))},
       {"command", escape_markup(report.command)},
       {"tiles", headline(report)},
       {"links", links},
       {"first_section", sections.front()},
       {"other_sections", fmt::format("{}", fmt::join(sections.begin() + 1, sections.end(), ""))},
       {"style", files.css},
       {"data", script_data(report.documents.at("regions"))},
       {"script", files.js}});
}

}  // namespace lasnet::cli
