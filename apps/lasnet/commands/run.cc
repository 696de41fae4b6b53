// `lasnet run`: photographs through the network: classes, what each block computed, and the time beside a
// dense run.
#include <filesystem>
#include <functional>
#include <memory>
#include <set>

#include "base/fail.h"
#include "base/statistics.h"
#include "classes.h"
#include "commands.h"
#include "image_options.h"
#include "input_options.h"
#include "lasnet/report.h"
#include "model_options.h"
#include "operating_options.h"
#include "output.h"
#include "run_report.h"
#include "session_options.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr const char* kFooter =
    R"(Columns of the table of blocks
  S            side of a patch in pixels of the block's output map: the masker decides patch by patch
  computed     r, the share of patches that the masker selected; skipped: none, the block passes its input on;
               shortcut only: none, and what remains is the 1x1 convolution beside the block's body
  with halo    share of pixels that the first convolutions compute: the patches, and around them the pixels
               that the 3x3 convolution reads
  MACs         multiply-accumulates, maskers included)";

struct RunCommand {
  ModelOptions model;
  SessionOptions session;
  OperatingOptions operating;
  bool check_finite = false;
  InputOptions input;
  ImageOptions images;
  std::vector<std::string> files;
  int top = 5;
  int repeat = 5;
  std::string overlay;
  bool json = false;
};

/// A photograph as it was, and as the network sees it.
struct Photo {
  std::string file;
  std::string overlay;  ///< what its overlays' names begin with
  int width = 0, height = 0;
  Image seen;
  Image shown;  ///< in pictures, at its own resolution; empty without them
};

/// What overlays of each photograph are named by: its stem; where two have the same, all by more of their
/// paths.
std::vector<std::string> overlay_names(const std::vector<std::string>& files) {
  using Path = std::filesystem::path;
  const std::function<std::string(const Path&)> namings[] = {
      [](const Path& path) { return path.stem().string(); },
      [](const Path& path) { return path.filename().string(); },
      [](const Path& path) {
        const std::string folder = path.parent_path().filename().string();
        return folder + "_" + path.filename().string();
      }};
  for (const auto& naming : namings) {
    std::vector<std::string> names;
    for (const auto& file : files) names.push_back(naming(std::filesystem::absolute(file)));
    if (std::set(names.begin(), names.end()).size() == files.size()) return names;
  }
  throw UsageError(
      "--overlay: two photographs have the same name in folders of the same name; run them one at a time");
}

/// Reads every photograph before anything runs, so that a bad one is refused before anything is written.
std::vector<Photo> load_photos(const RunCommand& command, const Preprocessing& preprocessing) {
  std::vector<std::string> names(command.files.size());
  if (!command.overlay.empty()) names = overlay_names(command.files);
  const DecodeOptions decode = decode_options(command.images);
  std::vector<Photo> photos;
  for (size_t i = 0; i < names.size(); ++i) {
    const Image image = load_image(command.files[i], decode);
    photos.push_back({command.files[i], names[i], image.width, image.height,
                      resize_and_crop(image, preprocessing),
                      command.overlay.empty() ? Image{} : visible_part(image, preprocessing)});
  }
  return photos;
}

struct Timing {
  double run_ms = 0;
  std::optional<DenseTiming> dense;
  std::vector<double> block_ms;
};

/// Medians of runs, of a dynamic network in turn with dense ones: a busy machine slows both of a pair alike.
Timing measure(Session& session, const Tensor& input, const std::vector<float>& thresholds, int repeat) {
  const RunOptions dynamic_options{.thresholds = thresholds, .record_masks = false};
  const RunOptions dense_options{.dense = true, .record_masks = false};
  const RunOptions timed_options{.thresholds = thresholds, .record_masks = false, .time_blocks = true};
  const bool compared = session.spec().arch.is_dynamic();
  if (compared) session.run(input, dense_options);
  session.run(input, dynamic_options);

  std::vector<double> dense, dynamic;
  std::vector<std::vector<double>> blocks(session.spec().blocks.size());
  for (int i = 0; i < repeat; ++i) {
    if (compared) dense.push_back(1e3 * session.run(input, dense_options).trace.seconds);
    Trace trace = session.run(input, dynamic_options).trace;
    dynamic.push_back(1e3 * trace.seconds);
    // On a GPU blocks are only timed in runs of their own.
    const Trace timed =
        session.backend() == Backend::cuda ? session.run(input, timed_options).trace : std::move(trace);
    for (size_t b = 0; b < blocks.size(); ++b) blocks[b].push_back(1e3 * timed.blocks[b].seconds);
  }
  Timing timing{.run_ms = median(dynamic), .dense = std::nullopt, .block_ms = {}};
  if (compared) timing.dense = DenseTiming{median(dense), quartiles(ratios(dense, dynamic))};
  for (const auto& times : blocks) timing.block_ms.push_back(median(times));
  return timing;
}

std::vector<std::pair<std::string, double>> probabilities(const Model& model, const Tensor& logits, int k) {
  const std::vector<double> all = softmax(logits.data);
  std::vector<std::pair<std::string, double>> top;
  for (const int64_t index : top_classes(logits.data.data(), logits.size(), k))
    top.emplace_back(class_name(model, index), all[static_cast<size_t>(index)]);
  return top;
}

/// `title`: what stands above the pictures.
std::vector<std::string> write_overlays(const std::string& dir, const Photo& photo, const Trace& trace,
                                        const std::string& title) {
  const std::string path = (std::filesystem::path(dir) / photo.overlay).string();
  const std::vector<std::string> paths = {path + ".heat.png", path + ".masks.png"};
  const PictureOptions options{.input = {photo.seen.height, photo.seen.width}, .title = title};
  save_png(heat_map(photo.shown, trace, options), paths[0]);
  save_png(mask_sheet(photo.shown, trace, options), paths[1]);
  return paths;
}

ImageReport report_photo(const RunCommand& command, const Model& model, const Preprocessing& preprocessing,
                         const std::vector<float>& thresholds, const Photo& photo, Session& session) {
  const Tensor input = to_input(photo.seen, preprocessing);
  const Result result = session.run(input, {.thresholds = thresholds, .check_finite = command.check_finite});
  if (image_without_class(result.logits)) fail("{}: {}", photo.file, kLogitsNotFinite);
  const Timing timing = measure(session, input, thresholds, command.repeat);
  ImageReport report{.file = photo.file,
                     .width = photo.width,
                     .height = photo.height,
                     .input_width = photo.seen.width,
                     .input_height = photo.seen.height,
                     .top = probabilities(model, result.logits, command.top),
                     .macs = result.trace.macs,
                     .static_macs = static_cast<double>(result.trace.static_macs),
                     .run_ms = timing.run_ms,
                     .dense = timing.dense,
                     .blocks = {},
                     .overlays = {}};
  for (size_t i = 0; i < result.trace.blocks.size(); ++i) {
    const BlockTrace& block = result.trace.blocks[i];
    const bool identity = !session.spec().blocks[i].projection.has_value();
    report.blocks.push_back({block.name, block.granularity, identity, block.rate, block.dilated_rate,
                             block.macs, timing.block_ms[i]});
  }
  if (!command.overlay.empty()) {
    const auto& [name, probability] = report.top.front();
    const std::string title = fmt::format("{} {}", name, format_percent(probability));
    report.overlays = write_overlays(command.overlay, photo, result.trace, title);
  }
  return report;
}

int run(const RunCommand& command) {
  const Model model = load_model(command.model);
  require_classifier(command.model.path, model.spec);
  if (!command.overlay.empty() && !model.spec.arch.is_dynamic()) {
    fail("--overlay: {} is a static network, which has no masks to draw", command.model.path);
  }
  const Preprocessing preprocessing = apply(command.input, model.preprocessing);
  warn_of_undivided_maps(command.model.path, model, preprocessing.crop);
  const OperatingChoice operating =
      operating_choice(command.operating, model, command.session, cropped_size(preprocessing));
  const std::vector<Photo> photos = load_photos(command, preprocessing);
  Session session = open_session(model, command.session);
  if (!command.overlay.empty()) create_directory(command.overlay);

  if (!command.json) {
    print(fmt::format("{}  {}\n", bold(command.model.path),
                      dim(fmt::format("{} · {}", describe(model.spec.arch), describe(session)))));
  }
  Json images = Json::array();
  std::vector<ImageReport> reports;
  for (const Photo& photo : photos) {
    reports.push_back(report_photo(command, model, preprocessing, operating.thresholds, photo, session));
    if (command.json) {
      images.push_back(to_json(reports.back()));
    } else {
      print(to_text(reports.back()));
    }
  }
  if (command.json) {
    Json json = {{"model", command.model.path}, {"images", images}};
    add_operating_choice(json, operating);
    print_json(json);
  } else if (reports.size() > 1) {
    print("\n" + summary(reports));
  }
  return 0;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto* sub = add_command(app, "run", "Classify photographs; show what was computed and how long it took");
  const auto command = std::make_shared<RunCommand>();
  add_model_options(*sub, command->model);
  add_preprocessing_options(*sub, command->model.preprocessing);
  sub->add_option("IMAGE", command->files, "JPEG, PNG or WebP files")->required();
  add_number(*sub, "--top", command->top, 1, 1000000, "Classes to show");
  sub->add_option(
         "--overlay", command->overlay,
         "Folder for <image>.heat.png (how many blocks computed each pixel) and <image>.masks.png (every "
         "block's mask)")
      ->type_name("DIR");
  add_number(*sub, "--repeat", command->repeat, 1, 100000,
             "Pairs of timed runs, dense and dynamic; medians and their ratio are reported");
  add_input_options(*sub, command->input);
  add_image_options(*sub, command->images);
  add_operating_options(*sub, command->operating);
  add_session_options(*sub, command->session, 1);
  add_check_finite_flag(*sub, command->check_finite);
  add_json_flag(*sub, command->json);
  sub->footer(kFooter);
  sub->callback([command, &action] { action = [command] { return run(*command); }; });
}

}  // namespace lasnet::cli
