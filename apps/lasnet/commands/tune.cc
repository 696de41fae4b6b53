// `lasnet tune`: thresholds for any MAC ratio, found on labelled images and stored in the model file.
#include "lasnet/tune.h"

#include <filesystem>
#include <memory>
#include <set>

#include "base/fail.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "classes.h"
#include "commands.h"
#include "eval_data.h"
#include "image_options.h"
#include "latency_options.h"
#include "log.h"
#include "model_options.h"
#include "operating_points_report.h"
#include "output.h"
#include "progress.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExtension = ".safetensors";

constexpr const char* kFooter =
    R"(What is found
  Operating points: a threshold for every block, the MAC ratio and the accuracy that these give. OUT is MODEL
  with its points. Without a budget it computes what MODEL does, with --macs or --budget-ms less or more.

Examples
  lasnet tune model.safetensors data/val -o tuned.safetensors --hardware tx2
  lasnet run tuned.safetensors photo.jpg --macs 0.4
  lasnet eval tuned.safetensors data/test --sweep sweep)";

struct TuneCommand {
  ModelOptions model;
  TuneOptions options;
  ImageOptions images;
  std::string data, output;
  std::vector<std::string> hardware;
  bool skip_unreadable = false;
  DType dtype = DType::f32;
  bool json = false;
};

/// Before anything is read that takes long.
void check_output(const TuneCommand& command) {
  if (!command.output.ends_with(kExtension)) {
    throw UsageError(
        fmt::format("{}: tune writes {} files; expected a name that ends so", command.output, kExtension));
  }
  std::error_code error;
  if (fs::equivalent(command.model.path, command.output, error)) {
    throw UsageError(fmt::format("-o {}: is the model that is tuned; expected another file", command.output));
  }
}

void warn_of_optimism(const std::string& data) {
  log_warning(
      fmt::format("thresholds were chosen on {} and measured there: report the accuracy on other images "
                  "(lasnet eval)",
                  data));
}

/// Images of the folder as the model sees them. Why some cannot be read goes to `unreadable`: each is asked
/// for several times.
LabelledImages labelled_images(const ImageFolder& folder, const SampleOptions& options, ThreadPool& pool,
                               std::set<std::string>& unreadable) {
  const auto read = [&](const std::vector<int64_t>& indices) {
    ImageFolder part;
    for (const int64_t index : indices) part.items.push_back(folder.items[static_cast<size_t>(index)]);
    Samples samples = load_samples(part, {}, 0, part.items.size(), options, pool);
    std::vector<LabelledImage> images;
    for (Sample& sample : samples.read) images.push_back({std::move(sample.input), sample.label});
    unreadable.insert(samples.unreadable.begin(), samples.unreadable.end());
    return images;
  };
  return {.count = static_cast<int64_t>(folder.items.size()), .read = read};
}

std::string progress_note(const TuneProgress& progress) {
  return progress.measuring ? "measuring all images"
                            : fmt::format("choosing: MACs {}, loss {:.3f}",
                                          format_percent(progress.macs_ratio), progress.loss);
}

/// What was found, and on what.
struct Tuning {
  std::vector<OperatingPoint> points;
  size_t images = 0;
  std::vector<std::string> unreadable;  ///< why images were left out
};

Tuning find_points(const TuneCommand& command, const Model& model, const ImageFolder& folder) {
  constexpr int kParts = 100;
  TuneOptions options = command.options;
  for (const std::string& name : command.hardware) options.hardware.push_back(open_hardware(name));
  const SampleOptions samples{.preprocessing = model.preprocessing,
                              .decode = decode_options(command.images),
                              .skip_unreadable = command.skip_unreadable};
  ThreadPool decoders(options.session.threads);
  Progress bar("tune", kParts, "percent");
  options.progress = [&bar](const TuneProgress& progress) {
    bar.update(static_cast<int64_t>(kParts * progress.share), progress_note(progress));
  };
  std::set<std::string> unreadable;
  Tuning tuning;
  tuning.points = lasnet::tune(model, labelled_images(folder, samples, decoders, unreadable), options);
  tuning.images = folder.items.size() - unreadable.size();
  tuning.unreadable.assign(unreadable.begin(), unreadable.end());
  return tuning;
}

/// What was found on what, beside the facts of the training.
std::string with_tuning(const std::string& training_json, const TuneCommand& command, size_t images) {
  Json facts = Json::parse(training_json);
  facts["tuning"] = {{"images", images},
                     {"deciding_images", std::min(images, static_cast<size_t>(command.options.images))},
                     {"seed", command.options.seed}};
  return facts.dump();
}

int tune(const TuneCommand& command) {
  check_output(command);
  Model model = load_model(command.model);
  require_classifier(command.model.path, model.spec);
  if (!model.spec.arch.is_dynamic())
    fail("{}: is a static network, which has no thresholds to tune", command.model.path);
  if (model.quantization && command.dtype != DType::f32) {
    throw UsageError(fmt::format("--dtype {}: {} is quantized, and what is not int8 there stays fp32",
                                 to_string(command.dtype), command.model.path));
  }
  const ImageFolder folder = open_validation(command.data, model);
  check_writable(command.output);
  Tuning tuning = find_points(command, model, folder);
  model.operating_points = std::move(tuning.points);
  model.training_json = with_tuning(model.training_json, command, tuning.images);
  save_model(model, command.output, command.dtype);
  warn_of_unreadable(tuning.unreadable);
  if (command.json) {
    print_json({{"model", command.model.path},
                {"data", command.data},
                {"output", command.output},
                {"images", tuning.images},
                {"unreadable", tuning.unreadable},
                {"points", operating_points_json(model.operating_points)}});
  } else {
    const size_t kept = model.operating_points.size();
    print(fmt::format("{}  {} operating point{} on {} image{}\n\n{}\n", bold(command.output), kept,
                      kept == 1 ? "" : "s", tuning.images, tuning.images == 1 ? "" : "s",
                      operating_points_table(model.operating_points)));
    if (kept < static_cast<size_t>(command.options.points)) {
      print(fmt::format("{} were asked for. Those less accurate than one with fewer MACs are left out.\n",
                        command.options.points));
    }
  }
  if (const std::string few = few_images_warning(static_cast<int64_t>(tuning.images)); !few.empty())
    log_warning(fmt::format("{}: {}", command.data, few));
  warn_of_optimism(command.data);
  return 0;
}

}  // namespace

void add_tune(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "tune", "Find thresholds for any MAC ratio on labelled images");
  const auto command = std::make_shared<TuneCommand>();
  TuneOptions& options = command->options;
  add_model_options(*sub, command->model);
  sub->add_option("DIR", command->data, "Folder of class folders, or a data set with val/ or valid/")
      ->required();
  sub->add_option("-o,--output", command->output, "Model file to write, .safetensors")
      ->required()
      ->type_name("OUT");
  add_number(*sub, "--points", options.points, 2, 100,
             "Operating points that are measured; those that others surpass are left out");
  add_number(*sub, "--images", options.images, 1, 1 << 20,
             "Images, drawn from DIR, that decide which thresholds are chosen; more take longer");
  add_number(*sub, "--batch", options.batch, 1, 4096, "Images per batch");
  sub->add_option("--seed", options.seed, "Of the draw")->check(whole_number())->capture_default_str();
  sub->add_option(
         "--hardware", command->hardware,
         fmt::format("Also predict times for this hardware (again for more): {}; cuda; or a profile's "
                     "file",
                     fmt::join(hardware_names(), ", ")))
      ->type_name("NAME|FILE")
      ->allow_extra_args(false);
  sub->add_flag("--skip-unreadable", command->skip_unreadable,
                "Leave out images that cannot be decoded; else the first one ends the command");
  add_parsed(*sub, "--dtype", "Type of the stored values: fp32, fp16 or bf16",
             [command](const std::string& text) { command->dtype = parse_dtype(text); })
      ->default_str("fp32");
  add_image_options(*sub, command->images);
  add_session_options(*sub, options.session, 0);
  add_json_flag(*sub, command->json);
  sub->footer(kFooter);
  sub->callback([command, &action] { action = [command] { return tune(*command); }; });
}

}  // namespace lasnet::cli
