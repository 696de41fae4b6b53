#include "tables.h"

#include <cmath>
#include <functional>
#include <map>

#include "base/fail.h"
#include "csv.h"

namespace lasnet::cli {
namespace {

/// Text as it is, numbers with four digits.
std::string cell(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_array()) {
    std::string text;
    for (const Json& one : value) text += (text.empty() ? "" : " ") + cell(one);
    return text;
  }
  return number_text(value);
}

std::vector<std::string> cells(const std::vector<Json>& values) {
  std::vector<std::string> row;
  for (const Json& value : values) row.push_back(cell(value));
  return row;
}

std::vector<DataTable> regions_tables(const Json& data) {
  DataTable photographs{
      .name = "photographs",
      .caption = "Photographs: one image at a time, one thread",
      .columns = {"photograph", "class", "probability", "MAC ratio", "dense ms", "sparse ms", "speed-up"},
      .rows = {}};
  DataTable blocks{.name = "regions",
                   .caption = "Blocks of every photograph",
                   .columns = {"photograph", "block", "S", "rate", "dilated rate", "MACs", "static MACs",
                               "dense ms", "sparse ms"},
                   .rows = {}};
  for (const Json& photograph : data["photographs"]) {
    const Json& best = photograph["classes"][0];
    photographs.rows.push_back(
        cells({photograph["file"], best["class"], best["probability"], photograph["macs_ratio"],
               photograph["dense_ms"], photograph["sparse_ms"], photograph["speedup"]}));
    for (const Json& block : photograph["blocks"]) {
      blocks.rows.push_back(cells({photograph["file"], block["name"], block["granularity"], block["rate"],
                                   block["dilated_rate"], block["macs"], block["static_macs"],
                                   block["dense_ms"], block["sparse_ms"]}));
    }
  }
  return {photographs, blocks};
}

std::vector<DataTable> prediction_tables(const Json& data) {
  const Json& errors = data["errors"];
  DataTable quality{.name = "prediction_errors",
                    .caption = "How far predictions are off, over all measured blocks",
                    .columns = {"runs", "mean error", "within 5 %", "within 10 %", "rank correlation over S",
                                "mean regret of the chosen S", "largest regret", "noise"},
                    .rows = {cells({errors["runs"], errors["mape"], errors["within_5"], errors["within_10"],
                                    errors["spearman_mean"], errors["regret_mean"], errors["regret_max"],
                                    errors["noise"]})}};
  DataTable curves{.name = "prediction",
                   .caption = "A stage's identity blocks, mean time of one",
                   .columns = {"stage", "S", "rate", "predicted ms", "measured ms"},
                   .rows = {}};
  for (const Json& stage : data["stages"]) {
    for (const Json& curve : stage["curves"]) {
      for (const Json& point : curve["points"]) {
        curves.rows.push_back(cells({stage["stage"], curve["granularity"], point["rate"],
                                     point["predicted_ms"], point["measured_ms"]}));
      }
    }
  }
  DataTable chosen{
      .name = "prediction_elsewhere",
      .caption = "Chosen S, by prediction: this machine, then hardware that is not here and was not measured",
      .columns = {"hardware", "batch", "chosen S", "static ms", "dynamic ms", "speed-up"},
      .rows = {}};
  const auto add = [&](const Json& hardware) {
    chosen.rows.push_back(cells({hardware["description"], hardware["batch"], hardware["granularity"],
                                 hardware["static_ms"], hardware["dynamic_ms"], hardware["speedup"]}));
  };
  add(data["here"]);
  for (const Json& hardware : data["elsewhere"]) add(hardware);
  return {quality, curves, chosen};
}

std::vector<DataTable> speed_tables(const Json& data) {
  DataTable runs{.name = "speed",
                 .caption = "Times of a batch; speed-ups are medians of ratios of runs in turn",
                 .columns = {"threads", "batch", "network", "min ms", "q1 ms", "median ms", "q3 ms",
                             "sparse is faster by", "theory", "efficiency"},
                 .rows = {}};
  for (const Json& run : data["runs"]) {
    const auto add = [&](const std::string& name, const Json& times, const Json& speedup, bool theory) {
      const Json& q = times["quartiles_ms"];
      runs.rows.push_back(cells({run["threads"], run["batch"], name, q["min"], q["q1"], q["median"], q["q3"],
                                 speedup, theory ? run["theory_speedup"] : Json(nullptr),
                                 theory ? run["efficiency"] : Json(nullptr)}));
    };
    add("dense", run["dense"], run["speedup"]["median"], true);
    add("sparse", run["sparse"], nullptr, false);
    const Json& baseline = run["baseline"];
    if (!baseline.is_null())
      add(baseline["name"].get<std::string>() + ", dense", baseline, baseline["speedup"]["median"], false);
  }
  DataTable density{.name = "density",
                    .caption = "Random masks: speed-up against the share of active patches",
                    .columns = {"rate", "MAC ratio", "dense ms", "sparse ms", "speed-up", "theory"},
                    .rows = {}};
  for (const Json& point : data["density"]) {
    density.rows.push_back(cells({point["rate"], point["macs_ratio"], point["dense_ms"], point["sparse_ms"],
                                  point["speedup"], point["theory_speedup"]}));
  }
  DataTable accuracy{.name = "accuracy",
                     .caption = "Accuracy: " + data["accuracy"]["source"].get<std::string>(),
                     .columns = {"network", "top-1", "MAC ratio", "images"},
                     .rows = {}};
  for (const Json& entry : data["accuracy"]["entries"])
    accuracy.rows.push_back(
        cells({entry["network"], entry["top1"], entry["macs_ratio"], data["accuracy"]["images"]}));
  DataTable peers{
      .name = "peers",
      .caption =
          "Other engines, measured before this report: median over rounds of the ratio to a sparse run",
      .columns = {"file", "date", "processor", "threads", "batch", "precision", "network", "min ms",
                  "median ms", "times as long, q1", "median", "q3"},
      .rows = {}};
  for (const Json& comparison : data.value("peers", Json::array())) {
    for (const Json& network : comparison["networks"]) {
      const Json& slower = network["slower"];
      peers.rows.push_back(
          cells({comparison["file"], comparison["date"], comparison["processor"], comparison["threads"],
                 comparison["batch"], comparison["precision"], network["name"], network["min_ms"],
                 network["median_ms"], slower["q1"], slower["median"], slower["q3"]}));
    }
  }
  std::vector<DataTable> tables = {runs, density, accuracy};
  if (!peers.rows.empty()) tables.push_back(peers);
  return tables;
}

std::vector<DataTable> ablations_tables(const Json& data) {
  DataTable granularities{
      .name = "granularity",
      .caption = "The same MACs with every S",
      .columns = {"S", "rate", "MAC ratio", "dense ms", "sparse ms", "speed-up", "theory"},
      .rows = {}};
  for (const Json& row : data["granularities"]["rows"]) {
    granularities.rows.push_back(cells({row["granularity"], row["rate"], row["macs_ratio"], row["dense_ms"],
                                        row["sparse_ms"], row["speedup"], row["theory_speedup"]}));
  }
  DataTable fusions{
      .name = "fusion",
      .caption = "The same masks with operators fused or apart",
      .columns = {"fused", "q1 ms", "median ms", "q3 ms", "faster than unfused", "faster than dense"},
      .rows = {}};
  for (const Json& row : data["fusions"]["rows"]) {
    fusions.rows.push_back(cells({row["name"], row["ms"]["q1"], row["ms"]["median"], row["ms"]["q3"],
                                  row["against_unfused"], row["against_dense"]}));
  }
  if (!data.contains("sweep")) return {granularities, fusions};
  DataTable sweep{.name = "sweep",
                  .caption = "Networks that were trained with every S, as recorded",
                  .columns = {"network", "kind", "S", "top-1", "images", "MAC ratio", "ms"},
                  .rows = {}};
  for (const Json& row : data["sweep"]["rows"])
    sweep.rows.push_back(cells({row["name"], row["kind"], row["granularity"], row["top1"], row["images"],
                                row["macs_ratio"], row["measured_ms"]}));
  return {granularities, fusions, sweep};
}

std::vector<DataTable> blocks_tables(const Json& data) {
  DataTable table{.name = "blocks",
                  .caption = "Milliseconds of one image, one thread, medians",
                  .columns = {"block", "S", "rate", "run"},
                  .rows = {}};
  for (const Json& kind : data["kinds"]) table.columns.push_back(kind.get<std::string>());
  for (const Json& block : data["blocks"]) {
    for (const char* run : {"dense", "sparse"}) {
      std::vector<Json> values = {block["name"], block["granularity"], block["rate"], run};
      for (const Json& kind : data["kinds"]) values.push_back(block[run][kind.get<std::string>()]);
      table.rows.push_back(cells(values));
    }
  }
  return {table};
}

std::vector<DataTable> knob_tables(const Json& data) {
  DataTable table{.name = "knob",
                  .caption = "One model at many thresholds",
                  .columns = {"threshold", "MAC ratio", "q1 ms", "median ms", "q3 ms", "faster than dense",
                              "top-1", "same class as dense", "probability of that class"},
                  .rows = {}};
  for (const Json& point : data["points"]) {
    table.rows.push_back(
        cells({point["dense"].get<bool>() ? Json("dense") : point["thresholds"], point["macs_ratio"],
               point["ms"]["q1"], point["ms"]["median"], point["ms"]["q3"], point["speedup"], point["top1"],
               point["same_class"], point["probability"]}));
  }
  return {table};
}

std::vector<DataTable> machine_tables(const Json& data) {
  DataTable table{
      .name = "machine", .caption = "What was measured on", .columns = {"what", "value"}, .rows = {}};
  const auto add = [&](const char* what, const Json& value) { table.rows.push_back({what, cell(value)}); };
  add("processor", data["processor"]);
  add("cores", data["cores"]);
  add("logical processors", data["processors"]);
  add("instruction set of the kernels", data["isa"]);
  add("features", data["features"]);
  add("L1 cache, KiB", data["l1_kib"]);
  add("L2 cache, KiB", data["l2_kib"]);
  add("L3 cache, KiB", data["l3_kib"]);
  add("multiply-add peak of a core, GFLOP/s", data["peak_gflops"]);
  add("date", data["date"]);
  add("lasnet", data["version"]);
  add("compiler", data["compiler"]);
  add("profile of predictions", data["profile"]);
  add("median difference of two equal runs", data["noise"]["median"]);
  return {table};
}

}  // namespace

std::string number_text(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_number_integer()) return std::to_string(value.get<int64_t>());
  const double number = value.get<double>();
  return std::abs(number) >= 1000 ? fmt::format("{:.0f}", number) : fmt::format("{:.4g}", number);
}

std::vector<DataTable> tables_of(const std::string& part, const Json& document) {
  static const std::map<std::string, std::function<std::vector<DataTable>(const Json&)>> makers = {
      {"regions", regions_tables},     {"prediction", prediction_tables}, {"speed", speed_tables},
      {"ablations", ablations_tables}, {"blocks", blocks_tables},         {"knob", knob_tables},
      {"machine", machine_tables}};
  const auto maker = makers.find(part);
  if (maker == makers.end()) fail("report: no tables of '{}'", part);
  return maker->second(document);
}

std::string to_csv(const DataTable& table) {
  std::string csv = csv_line(table.columns);
  for (const auto& row : table.rows) csv += csv_line(row);
  return csv;
}

}  // namespace lasnet::cli
