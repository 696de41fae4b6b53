#include "bench_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/enum_names.h"
#include "base/text.h"
#include "input_options.h"
#include "output.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr double kDefaultMacs = 0.5;

constexpr const char* kFooter =
    R"(What is measured
  Whole runs, from the input tensor to the logits: stem, maskers, lists of active pixels, body, head.
  `dense` is the same engine without maskers, `sparse` computes what the masks say. Every repetition draws
  fresh inputs and masks; each timed run follows an untimed one of its own kind, so that none meets
  another's caches or its still spinning threads; the order changes from repetition to repetition. Speed-ups
  are medians of ratios within a repetition, with quartiles: a busy machine slows both sides of a ratio.
  Times are wall times of a batch; the least is what the machine does undisturbed. With --backend cuda they are
  times on the device, from the input there to the logits there; blocks are timed in runs of their own.
  With --features both runs also copy out maps, and their times count it; a baseline returns logits alone.

Masks
  resnet50            random weights; random patches at --rate, or at the rate that gives --macs (0.5)
  FILE --images DIR   a trained network's own masks on its own kind of images
  FILE --macs 0.5     a trained network, but random patches; its maskers still run, as in every case
  FILE --images DIR --masks own --macs 0.5
                      a tuned network's own masks, at the operating point of that MAC ratio (lasnet tune);
                      --threshold and --budget-ms set or choose thresholds of own masks, too

Baseline
  onednn   the whole static network as one chain of oneDNN primitives: bias, ReLU and addition fused, weights
           packed beforehand; plain NHWC or blocked maps, whichever is faster here. Its logits are compared
           with the dense run's before anything is timed.

Examples
  lasnet bench resnet50 --granularity 4-4-2-1 --macs 0.5 --baseline onednn
  lasnet bench resnet50 --size 800x1333 --features --maps layer1,layer2,layer3,layer4 --macs 0.2
  lasnet bench models/demo.safetensors --images samples --json)";

constexpr auto kBaselines =
    enum_names<BaselineKind>("baseline", {{BaselineKind::none, "none"}, {BaselineKind::onednn, "onednn"}});
constexpr auto kMasks =
    enum_names<BenchMasks>("masks", {{BenchMasks::own, "own"}, {BenchMasks::random, "random"}});

void add_network_options(CLI::App& app, BenchOptions& options) {
  add_model_options(app, options.model);
  app.get_option("MODEL")->description("A model file, or the name of an architecture: random weights");
  app.get_option("--granularity")
      ->description("S per stage or block; default 4-4-2-1 for an architecture, else the file's");
  app.add_option(
         "--images", options.images,
         "Folder of JPEG, PNG and WebP files, at any depth: the inputs, in turn, or as many as --repeat and "
         "--batch take, spread evenly over it; needs a model file")
      ->type_name("DIR");
  add_image_options(app, options.decode);
  app.add_option(
         "--sweep", options.sweep,
         "Instead: speed-up against density, rates 0.1 ... 1 at S = 1, 2, 4, 7, 8 in every stage; writes "
         "a CSV file and a plot (SVG) into DIR. Needs an architecture; --repeat counts for every point")
      ->type_name("DIR");
  app.add_option("--save", options.save, "Also write the network that is measured, for other programs")
      ->type_name("FILE");
  const auto rate = app.add_option("--rate", options.rate, "Random masks: probability of a patch")
                        ->check(in_range(0, 1))
                        ->type_name("R");
  app.add_option("--macs", options.macs,
                 "Random masks at the rate that gives this share of the static network's MACs; default 0.5 "
                 "for an architecture. With --masks own: the operating point of that share")
      ->check(in_range(0, 1))
      ->type_name("F")
      ->excludes(rate);
  add_parsed(app, "--masks",
             "Whose: own (the maskers') or random; default: random with --rate or --macs, else own",
             [&](const std::string& text) { options.masks = kMasks.parse(text); })
      ->type_name("KIND");
  add_operating_options_but_macs(app, options.operating);
}

/// Whether the maskers decide, so that --macs names an operating point.
void resolve_masks(BenchOptions& options) {
  const bool is_operated = !options.operating.empty();
  const bool random = options.masks == BenchMasks::random;
  if (is_operated && (random || options.rate || options.macs)) {
    throw UsageError(
        "--threshold and --budget-ms are for a network's own masks; leave out --masks random, --rate and "
        "--macs");
  }
  if (random && !options.rate && !options.macs) options.macs = kDefaultMacs;
  if (options.masks != BenchMasks::own) return;
  if (options.rate) throw UsageError("--rate: is of random masks; leave out --masks own");
  options.operating.macs = std::exchange(options.macs, std::nullopt);
}

}  // namespace

bool BenchOptions::is_architecture() const { return cli::is_architecture(model.path); }

void add_bench_options(CLI::App& app, BenchOptions& options) {
  add_network_options(app, options);
  add_number(app, "--batch", options.batch, 1, 4096, "Images per run");
  add_parsed(app, "--size", "Input side, or HEIGHTxWIDTH; default the model's, 224 for an architecture",
             [&](const std::string& text) { options.size = parse_size(text); })
      ->type_name("PX");
  add_session_options(app, options.session, 1);
  add_parsed(app, "--baseline", "Another library beside: none (default) or onednn",
             [&](const std::string& text) { options.baseline = kBaselines.parse(text); });
  app.add_flag("--features", options.features,
               "Also return the maps after the stem and each stage, as a detector's backbone does");
  add_map_options(app, options.maps);
  add_number(app, "--repeat", options.repeat, 1, 100000, "Repetitions; each runs everything once, timed");
  app.add_option("--seed", options.seed, "Of random weights, inputs and masks")
      ->check(whole_number())
      ->capture_default_str();
  add_json_flag(app, options.json);
  app.footer(kFooter);
}

void resolve(BenchOptions& options) {
  if (options.baseline != BaselineKind::none && options.session.backend == Backend::cuda) {
    throw UsageError(
        "--baseline: its library runs on the processor; for libraries on the GPU see "
        "bench/peers/cuda_peers.py");
  }
  ModelOptions& model = options.model;
  if (options.features && !options.sweep.empty())
    throw UsageError("--sweep measures networks without maps; leave out --features");
  if (!options.sweep.empty() && options.masks)
    throw UsageError("--sweep measures random masks; leave out --masks");
  resolve_masks(options);
  if (options.is_architecture()) {
    if (options.masks == BenchMasks::own || !options.operating.empty()) {
      throw UsageError(
          fmt::format("{}: the own masks of random weights mean nothing; give a model file for --masks own, "
                      "--threshold and --budget-ms",
                      model.path));
    }
    if (model.arch) throw UsageError(fmt::format("--arch: {} already names the architecture", model.path));
    if (!options.images.empty()) {
      throw UsageError(
          fmt::format("--images: random weights find nothing in photographs; give a model file instead of {}",
                      model.path));
    }
    if (!options.sweep.empty() && (model.granularity || options.rate || options.macs || options.json ||
                                   options.baseline != BaselineKind::none)) {
      throw UsageError(
          "--sweep goes through granularities and rates by itself, beside dense runs; leave out "
          "--granularity, --rate, --macs, --baseline and --json");
    }
    if (!model.granularity) model.granularity = {4, 4, 2, 1};
    if (!options.rate && !options.macs) options.macs = kDefaultMacs;
    return;
  }
  if (!options.sweep.empty()) {
    throw UsageError(fmt::format("--sweep: {} is not an architecture; known: {}", model.path,
                                 fmt::join(architecture_names(), ", ")));
  }
  check_file_or_architecture(model.path);
  if (options.images.empty() && !options.rate && !options.macs) {
    throw UsageError(fmt::format(
        "{}: a network's own masks mean nothing on random inputs. Give it photographs (--images DIR), or "
        "force random masks (--macs 0.5 or --rate 0.4)",
        model.path));
  }
}

std::string reproduce(const BenchOptions& options, Isa isa, MapSize size) {
  const ModelOptions& model = options.model;
  std::string line = "lasnet bench " + shell_quoted(model.path);
  const auto add = [&](const char* name, const std::string& value) {
    line += fmt::format(" {} {}", name, shell_quoted(value));
  };
  if (model.arch) add("--arch", *model.arch);
  if (model.granularity) add("--granularity", granularity_to_string(*model.granularity));
  if (model.width) add("--width", fmt::format("{}", *model.width));
  if (model.classes) add("--classes", std::to_string(*model.classes));
  if (model.stem) add("--stem", to_string(*model.stem));
  if (model.se_pool) add("--se", to_string(*model.se_pool));
  if (model.dilated_stages) add("--dilated-stages", std::to_string(*model.dilated_stages));
  if (!options.images.empty()) add("--images", options.images);
  if (options.decode.max_pixels != kDefaultMaxPixels)
    add("--max-pixels", std::to_string(options.decode.max_pixels));
  if (options.decode.strict) line += " --strict-images";
  if (options.rate) add("--rate", fmt::format("{}", *options.rate));
  if (options.macs) add("--macs", fmt::format("{}", *options.macs));
  const OperatingOptions& operating = options.operating;
  if (!operating.thresholds.empty())  // which may begin with a minus
    line += fmt::format(" --threshold={}", fmt::join(operating.thresholds, ","));
  if (operating.macs) line += fmt::format(" --masks own --macs {}", *operating.macs);
  if (operating.budget_ms) add("--budget-ms", fmt::format("{}", *operating.budget_ms));
  if (!operating.hardware.empty()) add("--hardware", operating.hardware);
  add("--batch", std::to_string(options.batch));
  add("--size", size.height == size.width ? std::to_string(size.height)
                                          : fmt::format("{}x{}", size.height, size.width));
  if (options.session.backend == Backend::cuda) {
    add("--backend", "cuda");
    add("--precision", to_string(options.session.precision));
  } else {
    if (options.session.backend == Backend::reference) add("--backend", "reference");
    add("--threads", std::to_string(options.session.threads));
    add("--isa", to_string(isa));
  }
  if (options.features) line += " --features";
  if (!options.maps.names.empty()) add("--maps", fmt::format("{}", fmt::join(options.maps.names, ",")));
  if (options.maps.layout != MapLayout::nchw) add("--map-layout", to_string(options.maps.layout));
  if (options.session.schedule) add("--schedule", to_string(*options.session.schedule));
  add("--baseline", options.baseline == BaselineKind::none ? "none" : "onednn");
  add("--repeat", std::to_string(options.repeat));
  add("--seed", std::to_string(options.seed));
  return line;
}

}  // namespace lasnet::cli
