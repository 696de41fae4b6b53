#include "sweep_plan.h"

#include <filesystem>
#include <set>

#include "base/fail.h"
#include "base/file.h"
#include "base/numbers.h"
#include "lasnet/hardware.h"
#include "lasnet/image.h"
#include "train/config.h"
#include "train/digest.h"

namespace lasnet::cli {
namespace {

constexpr const char* kGroup = "Sweep";
constexpr const char* kPlan = "plan.json";
/// Of a static network.
const std::vector<int> kAnyGranularity = {1, 1, 1, 1};

constexpr const char* kFooter =
    R"(What is written
  DIR/static/            the static network that all start from, and its control
  DIR/runs/NAME/         each dynamic network, as lasnet train writes it
  DIR/sweep.csv, .json   accuracy, MACs, milliseconds, one row for each network
  DIR/sweep.svg          accuracy against MACs, and against measured and predicted milliseconds
  The same command goes on where it was interrupted. Finished networks are kept.

Examples
  lasnet sweep recipe.toml --data DIR --init resnet50.safetensors --granularity 4-4-2-1,8-4-7-1 \
      --target 0.4,0.6 --seeds 3 -o sweep
  lasnet sweep recipe.toml --data DIR --granularity 4-4-2-1 --target 0.5 --budget-ms 40 --rivals -o sweep)";

/// The texts between commas, each read by `parse`.
template <typename Parse>
auto parsed_list(const std::string& text, const Parse& parse) {
  std::vector<decltype(parse(std::string()))> values;
  for (const std::string_view part : split_list(text)) {
    if (part.empty()) fail("'{}': expected values with commas between, and got an empty one", text);
    values.push_back(parse(std::string(part)));
  }
  return values;
}

double number_of(const std::string& text) {
  const auto number = parse_number<double>(text);
  if (!number) fail("'{}': expected a number", text);
  return *number;
}

TrainConfig without_hardware(TrainConfig config) {
  const TrainConfig usual;
  config.hardware = usual.hardware;
  config.deploy_batch = usual.deploy_batch;
  config.deploy_threads = usual.deploy_threads;
  config.deploy_precision = usual.deploy_precision;
  return config;
}

/// What one network is trained for.
struct Goal {
  std::string name;
  std::optional<ConfigOverride> setting;  ///< nothing: what the file says
};

std::vector<Goal> goals_of(const SweepOptions& options) {
  std::vector<Goal> goals;
  for (const double target : options.targets) {
    const auto apply = [target](TrainConfig& config) {
      config.target = target, config.budget_ms = 0;
      if (!is_for_hardware(config)) config = without_hardware(config);
    };
    goals.push_back({fmt::format("target{:g}", target), ConfigOverride{"target", apply}});
  }
  for (const double ms : options.budgets_ms) {
    const auto apply = [ms](TrainConfig& config) { config.budget_ms = ms; };
    goals.push_back({fmt::format("{:g}ms", ms), ConfigOverride{"budget_ms", apply}});
  }
  if (goals.empty()) goals.push_back({});
  return goals;
}

std::string goal_text(const TrainConfig& config) {
  return config.budget_ms > 0 ? fmt::format("{:g}ms", config.budget_ms)
                              : fmt::format("target{:g}", config.target);
}

/// A point of the grid as `lasnet train` understands it.
TrainConfig resolved(const SweepOptions& options, const std::vector<int>& granularity, const Goal& goal) {
  TrainOptions train = options.train;
  if (!granularity.empty()) {
    const auto apply = [granularity](TrainConfig& config) { config.arch.granularity = granularity; };
    train.overrides.push_back({"granularity", apply});
  }
  if (goal.setting) train.overrides.push_back(*goal.setting);
  return resolve(train);
}

void check_validation(const std::string& data) {
  if (!validation_folder(data).empty()) return;
  fail("{}: there is no val folder; a sweep compares its networks on the same images, so make one ({}/val)",
       data, data);
}

nlohmann::json common_recipe(const SweepPlan& plan) {
  const TrainConfig& config = plan.static_config;
  const TrainConfig deployed = plan.deployed();
  nlohmann::json recipe = recipe_json(config);
  for (const char* key : {"granularity", "target", "budget_ms", "seed", "static_only"}) recipe.erase(key);
  recipe["seed"] = config.seed;
  recipe["hardware"] = deployed.hardware;
  recipe["deploy_batch"] = deployed.deploy_batch;
  recipe["deploy_threads"] = deployed.deploy_threads;
  recipe["deploy_precision"] = to_string(deployed.deploy_precision);
  recipe["init"] = config.init.empty() ? "" : digest_of_file(config.init);
  recipe["teacher"] = config.teacher.empty() ? "" : digest_of_file(config.teacher);
  return recipe;
}

}  // namespace

void add_sweep_options(CLI::App& app, SweepOptions& options) {
  app.add_option("CONFIG", options.train.config,
                 "TOML file with the recipe, as of lasnet train --config; options given here win over it")
      ->type_name("FILE.toml")
      ->required();
  add_parsed(
      app, "--granularity", "S per stage or block, several with commas between; default: the file's",
      [&](const std::string& text) { options.granularities = parsed_list(text, parse_train_granularity); })
      ->type_name("S,...")
      ->group(kGroup);
  add_parsed(app, "--target", "MAC ratios, with commas between; default: the file's",
             [&](const std::string& text) { options.targets = parsed_list(text, number_of); })
      ->type_name("T,...")
      ->group(kGroup);
  add_parsed(
      app, "--budget-ms",
      "Predicted milliseconds on --hardware, with commas between; beside --target they are more networks",
      [&](const std::string& text) { options.budgets_ms = parsed_list(text, number_of); })
      ->type_name("MS,...")
      ->group(kGroup);
  add_number(app, "--seeds", options.seeds, 1, 1000, "Networks of each kind, from --seed on")->group(kGroup);
  app.add_flag(
         "--rivals", options.rivals,
         "Also as many patches at random and at the centre, no masks, and the static network on smaller "
         "images")
      ->group(kGroup);
  app.add_flag_callback(
         "--no-timing", [&] { options.timing = false; }, "Do not time the networks on this machine")
      ->group(kGroup);
  add_parsed(app, "--predict",
             "Hardware that times are predicted for, with commas between, or none; default "
             "v100,rtx3090,tx2,nano",
             [&](const std::string& text) {
               options.hardware.clear();
               if (text == "none") return;
               options.hardware = parsed_list(text, [](const std::string& name) {
                 (void)load_hardware(name);
                 return name;
               });
             })
      ->type_name("NAME,...")
      ->group(kGroup);
  add_train_options(app, options.train,
                    {"config", "granularity", "target", "budget_ms", "resume", "overwrite", "static_only"});
  add_json_flag(app, options.json);
  app.footer(kFooter);
}

std::string granularity_text(const std::vector<int>& granularity) {
  return granularity == kAutoGranularity ? "auto" : granularity_to_string(granularity);
}

SweepPlan plan_sweep(const SweepOptions& options) {
  SweepPlan plan;
  std::set<std::string> names;
  const auto granularities =
      options.granularities.empty() ? std::vector<std::vector<int>>{{}} : options.granularities;
  for (const std::vector<int>& granularity : granularities) {
    for (const Goal& goal : goals_of(options)) {
      const TrainConfig config = resolved(options, granularity, goal);
      for (int seed = 0; seed < options.seeds; ++seed) {
        SweepRun run{.name = {}, .config = config};
        run.config.seed += static_cast<uint64_t>(seed);
        run.name = fmt::format("{}_{}_seed{}", granularity_text(config.arch.granularity), goal_text(config),
                               run.config.seed);
        if (!names.insert(run.name).second)
          throw UsageError(
              fmt::format("{} stands twice in the grid; give each S, target and budget once", run.name));
        plan.runs.push_back(std::move(run));
      }
    }
  }
  const TrainConfig& first = plan.runs.front().config;
  check_validation(first.data);
  plan.output = first.output;
  plan.static_config = without_hardware(first);
  plan.static_config.budget_ms = 0;
  plan.static_config.arch.granularity = kAnyGranularity;
  plan.static_config.output = plan.file("static");
  plan.static_config.static_only = true;
  plan.static_config.resume = !first.dry_run;
  for (SweepRun& run : plan.runs) {
    run.config.output = plan.file("runs/" + run.name);
    run.config.init = plan.file("static/static.safetensors");
    run.config.state_dict.clear();
    run.config.fresh_maskers = false;
    run.config.control_epochs = 0;
    run.config.resume = true;
  }
  return plan;
}

const TrainConfig& SweepPlan::deployed() const {
  for (const SweepRun& run : runs)
    if (is_for_hardware(run.config)) return run.config;
  return static_config;
}

Json to_json(const SweepPlan& plan) {
  Json runs = Json::array();
  for (const SweepRun& run : plan.runs) runs.push_back(run.name);
  return {{"runs", runs}, {"recipe", Json::parse(common_recipe(plan).dump())}};
}

void check_same_sweep(const SweepPlan& plan) {
  const std::string path = plan.file(kPlan);
  const Json now = to_json(plan);
  if (!std::filesystem::exists(path)) {
    write_file_atomically(path, [&](std::ostream& out) { out << now.dump(1) << "\n"; });
    return;
  }
  const std::vector<uint8_t> bytes = read_file(path, /*max_bytes=*/1 << 24);
  const Json before = Json::parse(bytes.begin(), bytes.end(), nullptr, false);
  const auto differs = [&](const std::string& what, const Json& then, const Json& wanted) {
    fail("{}: the sweep there was started with {} {}, now it is {}; give another folder (-o)", path, what,
         then.dump(), wanted.dump());
  };
  if (!before.is_object() || !before.contains("runs") || !before.contains("recipe"))
    fail("{}: not the plan of a sweep; give another folder (-o)", path);
  if (before["runs"] != now["runs"]) differs("the grid", before["runs"], now["runs"]);
  for (const auto& [key, value] : now["recipe"].items()) {
    const Json then = before["recipe"].value(key, Json());
    if (then != value) differs(with_option_names(setting_name(key)), then, value);
  }
}

}  // namespace lasnet::cli
