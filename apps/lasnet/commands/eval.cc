// `lasnet eval`: accuracy, MAC ratio and block rates of a model over a validation folder.
#include <algorithm>
#include <memory>

#include "base/chance.h"
#include "base/fail.h"
#include "base/statistics.h"
#include "classes.h"
#include "commands.h"
#include "eval_data.h"
#include "eval_sweep.h"
#include "image_options.h"
#include "input_options.h"
#include "lasnet/report.h"
#include "log.h"
#include "model_options.h"
#include "object_auc.h"
#include "operating_options.h"
#include "output.h"
#include "progress.h"
#include "random_masks.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

struct EvalCommand {
  ModelOptions model;
  SessionOptions session;
  OperatingOptions operating;
  bool check_finite = false;
  InputOptions input;
  ImageOptions images;
  std::string data;
  std::string object_masks;
  std::string sweep;  ///< folder for the table and the plot of all operating points; "": none
  MaskSource masks = MaskSource::own;
  uint64_t seed = 0;
  bool skip_unreadable = false;
  int batch = 32;
  int repeat = 3;  ///< timed runs of a sweep
  bool json = false;
};

/// How a network runs.
struct Setting {
  bool dense = false;
  std::vector<float> thresholds = {};
};

RunOptions run_options(const Setting& setting) {
  return {.dense = setting.dense, .thresholds = setting.thresholds, .record_masks = false};
}

struct BlockRates {
  std::string name;
  int granularity = 0;
  std::vector<double> rates;  ///< of each image
};

struct Metrics {
  std::vector<std::string> unreadable;  ///< why images were left out
  int64_t images = 0, top1 = 0, top5 = 0;
  double seconds = 0;               ///< in the network, decoding apart
  std::vector<double> macs_ratios;  ///< of each image
  std::vector<BlockRates> blocks;   ///< the dynamic ones

  double share(int64_t hits) const { return static_cast<double>(hits) / static_cast<double>(images); }
};

int dynamic_blocks(const ModelSpec& spec) {
  return static_cast<int>(std::count_if(spec.blocks.begin(), spec.blocks.end(),
                                        [](const BlockSpec& block) { return block.is_dynamic(); }));
}

void count_hits(const Tensor& logits, const Sample* samples, Metrics& metrics) {
  const int64_t classes = logits.shape[1];
  for (int64_t i = 0; i < logits.shape[0]; ++i) {
    const auto top = top_classes(logits.data.data() + i * classes, classes, 5);
    metrics.top1 += top.front() == samples[i].label;
    metrics.top5 += std::find(top.begin(), top.end(), samples[i].label) != top.end();
  }
  metrics.images += logits.shape[0];
}

void record_trace(const Trace& trace, Metrics& metrics) {
  for (const double macs : trace.image_macs) {
    metrics.macs_ratios.push_back(macs / static_cast<double>(trace.static_macs));
  }
  size_t next = 0;
  for (const BlockTrace& block : trace.blocks) {
    if (block.granularity == 0) continue;
    if (next == metrics.blocks.size()) metrics.blocks.push_back({block.name, block.granularity, {}});
    auto& rates = metrics.blocks[next++].rates;
    rates.insert(rates.end(), block.rates.begin(), block.rates.end());
  }
}

/// Runs `input`, the samples from `first` on, and returns how long the network took.
double run_batch(Session& session, const Tensor& input, const Sample* first, const EvalCommand& command,
                 const Setting& setting, Random& random, Metrics& metrics, ObjectAuc* auc) {
  RunOptions options = run_options(setting);
  options.check_finite = command.check_finite;
  options.record_masks = auc != nullptr;
  // The first run plans and touches its memory, which is not the network's speed.
  if (metrics.images == 0) session.run(input, options);
  const Result result = run_with_masks(session, input, command.masks, options, random);
  if (const auto image = image_without_class(result.logits))
    fail("{}: {}", first[*image].path, kLogitsNotFinite);
  count_hits(result.logits, first, metrics);
  record_trace(result.trace, metrics);
  if (auc == nullptr) return result.trace.seconds;
  const auto height = static_cast<int>(input.shape[2]), width = static_cast<int>(input.shape[3]);
  for (int64_t i = 0; i < input.shape[0]; ++i) {
    auc->add(compute_density(result.trace, i, height, width), first[i].object);
  }
  return result.trace.seconds;
}

/// [first, last), which have one size.
Tensor to_batch(const Sample* first, const Sample* last) {
  std::vector<Tensor> inputs;
  for (const Sample* sample = first; sample != last; ++sample) inputs.push_back(sample->input);
  return stack(inputs);
}

/// What each setting gives. Images are read once. In a sweep settings take turns, and the median of a batch's
/// times counts: a busy machine slows all alike.
std::vector<Metrics> evaluate(const EvalCommand& command, const Model& model, const ImageFolder& folder,
                              const std::vector<Setting>& settings, const std::vector<std::string>& masks,
                              ObjectAuc* auc) {
  const SampleOptions options{.preprocessing = apply(command.input, model.preprocessing),
                              .decode = decode_options(command.images),
                              .skip_unreadable = command.skip_unreadable};
  const int repeats = command.sweep.empty() ? 1 : command.repeat;
  Session session = open_session(model, command.session);
  ThreadPool decoders(command.session.threads);
  Progress progress("eval", static_cast<int64_t>(folder.items.size()), "images");
  std::vector<Metrics> all(settings.size());
  Metrics& metrics = all.front();
  Random random(command.seed, "masks");
  for (size_t begin = 0; begin < folder.items.size(); begin += static_cast<size_t>(command.batch)) {
    const size_t end = std::min(folder.items.size(), begin + static_cast<size_t>(command.batch));
    const auto [samples, unreadable] = load_samples(folder, masks, begin, end, options, decoders);
    metrics.unreadable.insert(metrics.unreadable.end(), unreadable.begin(), unreadable.end());
    // Uncropped photographs differ in size; neighbours of one size still share a batch.
    const Sample* last = samples.data() + samples.size();
    for (const Sample* first = samples.data(); first != last;) {
      const Sample* next = std::find_if(
          first, last, [&](const Sample& sample) { return sample.input.shape != first->input.shape; });
      const Tensor input = to_batch(first, next);
      std::vector<std::vector<double>> seconds;
      for (size_t i = 0; i < settings.size(); ++i)
        seconds.push_back({run_batch(session, input, first, command, settings[i], random, all[i], auc)});
      for (int again = 1; again < repeats; ++again) {
        for (size_t i = 0; i < settings.size(); ++i)
          seconds[i].push_back(session.run(input, run_options(settings[i])).trace.seconds);
      }
      for (size_t i = 0; i < settings.size(); ++i) all[i].seconds += median(seconds[i]);
      first = next;
    }
    if (metrics.images == 0) continue;
    progress.update(static_cast<int64_t>(end),
                    fmt::format("top-1 {}  MACs {}", format_percent(metrics.share(metrics.top1)),
                                format_percent(mean(metrics.macs_ratios))));
  }
  if (metrics.images == 0) {
    fail("{}: none of {} images can be read: {}", command.data, metrics.unreadable.size(),
         metrics.unreadable.front());
  }
  return all;
}

Json to_json(const EvalCommand& command, const LeftOut& left_out, const Metrics& metrics,
             const ObjectAuc* auc) {
  Json blocks = Json::array();
  for (const BlockRates& block : metrics.blocks) {
    blocks.push_back({{"name", block.name},
                      {"granularity", granularity_json(block.granularity)},
                      {"rate", mean(block.rates)},
                      {"rate_std", deviation(block.rates)}});
  }
  Json json = {{"model", command.model.path},
               {"data", command.data},
               {"masks", to_string(command.masks)},
               {"images", metrics.images},
               {"unreadable", metrics.unreadable},
               {"left_out", left_out},
               {"top1", metrics.share(metrics.top1)},
               {"top5", metrics.share(metrics.top5)},
               {"macs_ratio", mean(metrics.macs_ratios)},
               {"macs_ratio_std", deviation(metrics.macs_ratios)},
               {"images_per_s", static_cast<double>(metrics.images) / metrics.seconds},
               {"blocks", blocks}};
  if (auc != nullptr) {
    json["object_auc"] = auc->pooled();
    json["object_auc_per_image"] = auc->mean_per_image();
  }
  return json;
}

std::string to_text(const Model& model, MaskSource masks, const Metrics& metrics, const ObjectAuc* auc) {
  std::string text = fmt::format("{}\n", describe(model.spec.arch));
  text += fmt::format("images      {}{}\n", metrics.images,
                      metrics.unreadable.empty()
                          ? ""
                          : fmt::format(", and {} that cannot be read", metrics.unreadable.size()));
  if (masks != MaskSource::own) text += fmt::format("masks       {}\n", to_string(masks));
  text += fmt::format("top-1       {}\n", bold(format_percent(metrics.share(metrics.top1))));
  text += fmt::format("top-5       {}\n", format_percent(metrics.share(metrics.top5)));
  if (!metrics.blocks.empty()) {  // a static network is not compared with itself
    text += fmt::format("MACs        {} of the static network, ± {} over images\n",
                        bold(format_percent(mean(metrics.macs_ratios))),
                        format_percent(deviation(metrics.macs_ratios)));
  }
  text += fmt::format("speed       {:.1f} images/s in the network\n",
                      static_cast<double>(metrics.images) / metrics.seconds);
  if (auc != nullptr) {
    text += fmt::format("object AUC  {:.3f} over all pixels, {:.3f} mean per image\n", auc->pooled(),
                        auc->mean_per_image());
  }
  if (metrics.blocks.empty()) return text;
  Table table({"block", ">S", "computed (r)", ">", ">± over images"});
  for (const BlockRates& block : metrics.blocks) {
    table.add_row({block.name, format_granularity(block.granularity), accent(bar(mean(block.rates), 20)),
                   format_percent(mean(block.rates)), format_percent(deviation(block.rates))});
  }
  return text + "\n" + table.to_string();
}

/// A network that sees other values than it was trained on guesses, and says nothing.
void warn_of_guessing(const Model& model, const Metrics& metrics) {
  constexpr int64_t kMin = 20;
  if (metrics.images < kMin || model.spec.arch.classes < 2) return;
  if (!is_guessing(metrics.share(metrics.top1), metrics.images, model.spec.arch.classes, /*deviations=*/2))
    return;
  log_warning(fmt::format(
      "top-1 of {} is what guessing gives ({} classes). Is the network trained? Was it trained on images of "
      "mean {} and std {} (--mean, --std; --mean raw: pixels as they are), and are its classes those of the "
      "folders, in their order?",
      format_percent(metrics.share(metrics.top1)), model.spec.arch.classes,
      fmt::join(model.preprocessing.mean, " "), fmt::join(model.preprocessing.std, " ")));
}

/// Every operating point, and the network without masks.
int sweep(const EvalCommand& command, const Model& model, const ImageFolder& folder) {
  prepare_sweep(command.sweep, command.model.path);
  std::vector<Setting> settings;
  for (const OperatingPoint& point : model.operating_points)
    settings.push_back({.dense = false, .thresholds = point.thresholds});
  settings.push_back({.dense = true});
  const std::vector<Metrics> all = evaluate(command, model, folder, settings, {}, nullptr);
  warn_of_unreadable(all.front().unreadable);
  Sweep sweep{
      .model = command.model.path, .images = all.front().images, .repeats = command.repeat, .rows = {}};
  for (size_t i = 0; i < all.size(); ++i) {
    const Metrics& metrics = all[i];
    sweep.rows.push_back({.dense = settings[i].dense,
                          .macs_ratio = mean(metrics.macs_ratios),
                          .top1 = metrics.share(metrics.top1),
                          .top5 = metrics.share(metrics.top5),
                          .ms_per_image = 1e3 * metrics.seconds / static_cast<double>(metrics.images)});
  }
  write_sweep(sweep, command.sweep);
  if (command.json) {
    print_json(to_json(sweep));
  } else {
    print(to_text(sweep, command.sweep));
  }
  return 0;
}

/// Refuses what a sweep decides by itself.
void check_sweep(const EvalCommand& command, const Model& model) {
  if (command.sweep.empty()) return;
  if (command.masks != MaskSource::own || !command.object_masks.empty() || !command.operating.empty()) {
    throw UsageError(
        "--sweep goes through the operating points by itself; leave out --masks, --object-masks, "
        "--threshold, "
        "--macs and --budget-ms");
  }
  if (model.operating_points.empty()) {
    fail("--sweep: {} has no operating points; lasnet tune finds them on labelled images",
         command.model.path);
  }
}

int eval(const EvalCommand& command) {
  const Model model = load_model(command.model);
  require_classifier(command.model.path, model.spec);
  check_sweep(command, model);
  if (command.masks == MaskSource::full && !command.operating.empty())
    throw UsageError("--masks full computes everything; leave out --threshold, --macs and --budget-ms");
  const Preprocessing preprocessing = apply(command.input, model.preprocessing);
  warn_of_undivided_maps(command.model.path, model, preprocessing.crop);
  const OperatingChoice operating =
      operating_choice(command.operating, model, command.session, cropped_size(preprocessing));
  const ImageFolder folder = open_validation(command.data, model);
  if (command.masks != MaskSource::own && !model.spec.arch.is_dynamic())
    fail("--masks: {} is a static network, which has none", command.model.path);
  if (!command.sweep.empty()) return sweep(command, model, folder);
  std::vector<std::string> masks;
  std::optional<ObjectAuc> auc;
  if (!command.object_masks.empty()) {
    if (!model.spec.arch.is_dynamic()) fail("--object-masks: {} is a static network", command.model.path);
    masks = object_mask_paths(folder, command.object_masks);
    auc.emplace(dynamic_blocks(model.spec));
  }
  ObjectAuc* const separation = auc ? &*auc : nullptr;
  const Metrics metrics =
      evaluate(command, model, folder, {{.thresholds = operating.thresholds}}, masks, separation).front();
  warn_of_unreadable(metrics.unreadable);
  if (command.operating.empty()) warn_of_guessing(model, metrics);  // a low budget may leave no more
  if (command.json) {
    Json json = to_json(command, folder.left_out, metrics, separation);
    add_operating_choice(json, operating);
    print_json(json);
  } else {
    print(to_text(model, command.masks, metrics, separation));
  }
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "eval", "Accuracy, MAC ratio and block rates over a validation folder");
  const auto command = std::make_shared<EvalCommand>();
  add_model_options(*sub, command->model);
  add_preprocessing_options(*sub, command->model.preprocessing);
  sub->add_option("DIR", command->data, "Folder of class folders, or a data set with val/ or valid/")
      ->required();
  add_number(*sub, "--batch", command->batch, 1, 4096, "Images per batch");
  sub->add_option(
         "--object-masks", command->object_masks,
         "Folder with a grey <class>/<image>.png per image (white: object): also report how well the number "
         "of blocks that computed a pixel separates object from background")
      ->type_name("DIR");
  add_parsed(
      *sub, "--masks",
      "own (default): the maskers'. For comparison, as many patches of every block and image elsewhere: "
      "random or centre; full: the network without masks",
      [command](const std::string& text) { command->masks = parse_mask_source(text); })
      ->type_name("KIND");
  sub->add_option("--seed", command->seed, "Of --masks random");
  const auto sweep = sub->add_option(
      "--sweep", command->sweep,
      "Instead: every operating point of the model (lasnet tune finds them), and the network "
      "without masks; "
      "writes accuracy against MACs and against time into DIR, as a CSV file and a plot (SVG)");
  sweep->type_name("DIR");
  add_number(*sub, "--repeat", command->repeat, 1, 100000,
             "Of --sweep: timed runs of each batch and point; the medians are added up")
      ->needs(sweep);
  sub->add_flag("--skip-unreadable", command->skip_unreadable,
                "Leave out images that cannot be decoded; else the first one ends the evaluation");
  add_input_options(*sub, command->input);
  add_image_options(*sub, command->images);
  add_operating_options(*sub, command->operating);
  add_session_options(*sub, command->session, 0);
  add_check_finite_flag(*sub, command->check_finite);
  add_json_flag(*sub, command->json);
  sub->callback([command, &action] { action = [command] { return eval(*command); }; });
}

}  // namespace lasnet::cli
