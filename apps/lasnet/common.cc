#include "common.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <numeric>

#include "class_list.h"
#include "core/escape.h"
#include "core/fail.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/npy.h"
#include "core/processors.h"
#include "core/suggest.h"
#include "engine/executable.h"
#include "log.h"
#include "machine.h"
#include "model/state_dict.h"
#include "terminal.h"

namespace lasnet::cli {
namespace {

constexpr const char* kEngineGroup = "Engine";

/// Accepts texts whose number passes `accepts`; "" where CLI11 asks for a description.
CLI::Validator number_check(const std::string& expected, std::function<bool(double)> accepts) {
  const auto check = [expected, accepts = std::move(accepts)](const std::string& text) -> std::string {
    double number = 0;
    if (CLI::detail::lexical_cast(text, number) && accepts(number)) return "";
    return fmt::format("'{}' is not a number {}", text, expected);
  };
  return CLI::Validator(check, "");
}

}  // namespace

CLI::Validator in_range(double low, double high) {
  return number_check(fmt::format("from {:g} to {:g}", low, high),
                      [=](double number) { return number >= low && number <= high; });
}

CLI::Validator above_zero() {
  return number_check("greater than 0", [](double number) { return std::isfinite(number) && number > 0; });
}

CLI::Validator whole_number(uint64_t low, uint64_t high) {
  const auto check = [=](const std::string& text) -> std::string {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool whole = error == std::errc() && end == text.data() + text.size();
    if (whole && number >= low && number <= high) return "";
    return fmt::format("'{}' is not a whole number from {} to {}", text, low, high);
  };
  return CLI::Validator(check, "");
}

CLI::Option* add_number(CLI::App& app, const std::string& name, int& value, int low, int high,
                        const std::string& help) {
  return app.add_option(name, value, help)
      ->check(whole_number(static_cast<uint64_t>(low), static_cast<uint64_t>(high)))
      ->type_name("N")
      ->capture_default_str();
}

int guarded(const std::function<int()>& body) {
  try {
    return body();
  } catch (const UsageError& error) {
    log_error(error.what());
    return kExitUsage;
  } catch (const SeveralStateDicts& error) {
    log_error(fmt::format("{}; choose one with --state-dict", error.what()));
  } catch (const std::bad_alloc&) {
    log_error("out of memory: try a smaller batch or a smaller input");
  } catch (const Error& error) {
    log_error(error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    log_error(fmt::format("{}: {}", error.path1().string(), error.code().message()));
  } catch (const std::exception& error) {
    log_error(fmt::format("a fault in this program: please report it with the command ({})", error.what()));
  }
  return kExitError;
}

namespace {

/// The command that was named, else the program itself.
const CLI::App& named_command(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : *commands.front();
}

/// What an argument that the parser does not know could have meant: options, or the program's commands.
std::vector<std::string> known_arguments(const CLI::App& command, bool options) {
  std::vector<std::string> known;
  if (!options) {
    for (const CLI::App* sub : command.get_subcommands([](const CLI::App*) { return true; }))
      known.push_back(sub->get_name());
    return known;
  }
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  }
  return known;
}

/// Names the first unexpected argument, options first, and what it may have been meant for.
std::string describe_extras(const CLI::App& app) {
  const std::vector<std::string> extras = app.remaining(true);
  const auto is_option = [](const std::string& argument) { return argument.starts_with("-"); };
  // A mistyped command's own options are not at fault.
  const bool command_expected = &named_command(app) == &app && !known_arguments(app, false).empty();
  const auto option = command_expected && !is_option(extras.front())
                          ? extras.end()
                          : std::find_if(extras.begin(), extras.end(), is_option);
  const std::string& extra = option != extras.end() ? *option : extras.front();
  const CLI::App& command = named_command(app);
  const auto known = known_arguments(command, is_option(extra));
  const std::string near = nearest_name(extra.substr(0, extra.find('=')), known);
  const char* kind = is_option(extra) ? "an option" : known.empty() ? "an argument" : "a command";
  return fmt::format("'{}' is not {} of {}{}", excerpt(extra), kind, command.get_name(),
                     near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

}  // namespace

namespace {

/// "-" stands for standard input or output in other programs. Here files are read at any place and replaced
/// whole, which streams cannot be.
void refuse_standard_streams(const CLI::App& command) {
  for (const CLI::Option* option : command.get_options()) {
    const std::vector<std::string>& values = option->results();
    if (std::find(values.begin(), values.end(), "-") == values.end()) continue;
    throw CLI::ValidationError(option->get_name(),
                               "'-' is no file here: give a name (/dev/stdout for standard output; ./- for a "
                               "file that is called so)");
  }
}

/// The option that a message of the parser begins with, if it is one.
const CLI::Option* named_option(const CLI::App& command, const std::string& message) {
  return command.get_option_no_throw(message.substr(0, message.find(':')));
}

/// The parser's own words, where they say what is wrong in terms of the command line; else ours.
std::string describe_wrong_use(const CLI::App& app, const CLI::Error& error) {
  const std::string message = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) return describe_extras(app);
  if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) {
    const size_t colon = message.find(": ");  // Could not convert: --json = maybe
    return message.substr(colon == std::string::npos ? 0 : colon + 2) + ": this option takes no such value";
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) == nullptr) return message;
  const CLI::Option* option = named_option(named_command(app), message);
  if (option == nullptr) return message;
  if (option->results().empty())
    return fmt::format("{} needs a value: {}", option->get_name(), option->get_type_name());
  return fmt::format("{} is given {} times; expected once", option->get_name(), option->results().size());
}

}  // namespace

int parse(CLI::App& app, int argc, char** argv) {
  app.failure_message([](const CLI::App* parsed, const CLI::Error& error) {
    return fmt::format("error: {}\nRun with --help for more information.\n",
                       as_message(describe_wrong_use(*parsed, error)));
  });
  try {
    app.parse(argc, argv);
    refuse_standard_streams(named_command(app));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  return -1;
}

namespace {

/// A number of classes, or a text file of their names.
void parse_classes(const std::string& text, ModelOptions& options) {
  constexpr int kMaxClasses = 1 << 20;
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error == std::errc() && end == text.data() + text.size()) {
    if (count < 1 || count > kMaxClasses) fail("{} classes; expected 1 to {}", count, kMaxClasses);
    options.classes = count;
    return;
  }
  ClassList list = read_class_list(text);
  options.class_names = std::move(list.names);
  options.class_folders = std::move(list.folders);
  options.classes = static_cast<int>(options.class_names.size());
}

/// What the file says of itself; for plain weights, their number of classes.
ArchConfig described_or_plain(const ModelOptions& options) {
  if (const auto described = described_architecture(options.path, options.state_dict)) return *described;
  if (!options.arch) {
    fail("{}: no lasnet metadata, so the network is unknown; name its architecture (--arch)", options.path);
  }
  ArchConfig arch;
  arch.classes = stored_classes(options.path, options.state_dict).value_or(arch.classes);
  return arch;
}

}  // namespace

void add_model_options(CLI::App& app, ModelOptions& options) {
  const std::string group = "Model (for files that do not describe themselves)";
  app.add_option("MODEL", options.path, "Model file, .safetensors; or PyTorch weights, .pth or .pt")
      ->required();
  app.add_option("--arch", options.arch, "Architecture, e.g. resnet50")->group(group);
  add_parsed(app, "--granularity", "S per stage or block, e.g. 4-4-2-1, or static",
             [&](const std::string& text) { options.granularity = parse_granularity(text); })
      ->group(group);
  app.add_option("--width", options.width, "Channel multiplier")->check(above_zero())->group(group);
  add_parsed(
      app, "--classes",
      "Number of classes, or a text file with a class name per line, or with a folder, a tab and a name",
      [&](const std::string& text) { parse_classes(text, options); })
      ->type_name("N|FILE")
      ->group(group);
  add_parsed(app, "--stem", "imagenet or small", [&](const std::string& text) {
    options.stem = parse_stem(text);
  })->group(group);
  add_parsed(app, "--se", "Pool of Squeeze-and-Excitation: over active pixels (active) or all (dense)",
             [&](const std::string& text) { options.se_pool = parse_se_pool(text); })
      ->group(group);
  app.add_option(
         "--state-dict", options.state_dict,
         "Which state dict of a PyTorch checkpoint, by its keys, e.g. state_dict_ema or ema.model; else "
         "the usual or only one")
      ->type_name("KEYS")
      ->group(group);
}

namespace {

/// The masks of a model suit the patches that it was trained with, and its weights suit the masks.
void warn_of_other_granularity(const ModelOptions& options) {
  if (!options.granularity) return;
  const auto described = described_architecture(options.path, options.state_dict);
  if (!described || !described->is_dynamic()) return;
  if (described->granularity == *options.granularity) return;
  log_warning(
      fmt::format("--granularity {}: {} is made for {}; {}", granularity_to_string(*options.granularity),
                  options.path, granularity_to_string(described->granularity),
                  options.granularity->empty() ? "without masks its weights are not what they were fitted to"
                                               : "its maskers do not know patches of that size"));
}

/// Throws UsageError where the name of an architecture, perhaps a mistyped one, stands for a model file.
void check_is_no_architecture(const std::string& path) {
  if (std::filesystem::path(path).has_extension() || std::filesystem::exists(path)) return;
  const std::string near = nearest_name(path, architecture_names());
  if (near.empty()) return;
  throw UsageError(fmt::format(
      "MODEL {}: no such file{}, and an architecture has no weights; expected a model file (lasnet convert "
      "makes one of PyTorch weights, lasnet train of an image folder)",
      path, near == path ? "" : fmt::format(" (did you mean {}?)", near)));
}

/// Of files that do not say whether they are dynamic; of others warn_of_other_granularity speaks.
void warn_of_unused_maskers(const std::string& path, const Model& model) {
  if (model.origin.has_description || model.spec.arch.is_dynamic() || model.origin.stored_maskers == 0)
    return;
  log_warning(
      fmt::format("{}: the file has maskers, which a static network leaves out; --granularity keeps them "
                  "(the S that they were trained for, e.g. 4-4-2-1)",
                  path));
}

void warn_of_other_weights(const std::string& path, const WeightsOrigin& origin) {
  const std::string which = describe_choice(path, origin.state_dict, origin.other_state_dicts);
  if (!which.empty()) log_warning(which + " (--state-dict chooses)");
}

}  // namespace

Model load_model(const ModelOptions& options) {
  check_is_no_architecture(options.path);
  warn_of_other_granularity(options);
  std::optional<ArchConfig> arch;
  if (!options.describe_nothing()) arch = apply(options, described_or_plain(options));
  Model model = lasnet::load_model(options.path, arch, options.state_dict);
  if (!options.class_names.empty()) {
    model.class_names = options.class_names;
    model.class_folders = options.class_folders;
  }
  model.preprocessing = apply(options.preprocessing, model.preprocessing);
  warn_of_other_weights(options.path, model.origin);
  warn_of_unused_maskers(options.path, model);
  return model;
}

namespace {

/// The first block whose S does not divide its map at this crop; null if there is none.
const BlockSpec* undivided_block(const ModelSpec& spec, int crop) {
  const NetworkGeometry geometry = network_geometry(spec, {crop, crop});
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    const BlockSpec& block = spec.blocks[i];
    if (block.is_dynamic() && geometry.blocks[i].output.height % block.granularity != 0) return &block;
  }
  return nullptr;
}

/// The crop nearest to this one at which every S divides its map; 0 if none is sane.
int divided_crop(const ModelSpec& spec, int crop) {
  constexpr int kStep = 32, kMost = 1024;
  int best = 0;
  for (int side = kStep; side <= kMost; side += kStep) {
    if (undivided_block(spec, side) != nullptr) continue;
    if (best == 0 || std::abs(side - crop) < std::abs(best - crop)) best = side;
  }
  return best;
}

}  // namespace

// Patches at a map's border are cut off here. The authors' code rounds their number down, lets windows
// overlap and enlarges the mask by its nearest value: another function of the same weights.
void warn_of_undivided_maps(const std::string& path, const Model& model, int crop) {
  if (model.origin.has_description || model.origin.stored_maskers == 0 || crop < 32) return;
  const BlockSpec* const block = undivided_block(model.spec, crop);
  if (block == nullptr) return;
  const int better = divided_crop(model.spec, crop);
  log_warning(fmt::format(
      "{}: S = {} does not divide the map of {} at {} px. If these maskers were trained with the authors' "
      "code, they decide otherwise here: lasnet cuts patches off at the border, their code shifts them. {}; "
      "or fine-tune the network (lasnet train --init)",
      path, block->granularity, block->name, crop,
      better > 0 ? fmt::format("At --crop {} every S divides its map", better)
                 : std::string("Choose an S that divides it (--granularity)")));
}

ArchConfig apply(const ModelOptions& options, ArchConfig arch) {
  arch.name = options.arch.value_or(arch.name);
  arch.granularity = options.granularity.value_or(arch.granularity);
  arch.width = options.width.value_or(arch.width);
  arch.classes = options.classes.value_or(arch.classes);
  arch.stem = options.stem.value_or(arch.stem);
  arch.se_pool = options.se_pool.value_or(arch.se_pool);
  as_usage([&] { make_spec(arch); });
  return arch;
}

bool is_architecture(const std::string& name) {
  const auto names = architecture_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

void check_file_or_architecture(const std::string& name) {
  if (is_architecture(name) || std::filesystem::exists(name)) return;
  const std::string near = nearest_name(name, architecture_names());
  throw UsageError(fmt::format("MODEL {}: no such file, and no architecture{}; known: {}", name,
                               near.empty() ? "" : fmt::format(" (did you mean {}?)", near),
                               fmt::join(architecture_names(), ", ")));
}

ModelSpec described_spec(const ModelOptions& options) {
  if (is_architecture(options.path)) {
    if (options.arch)
      throw UsageError(fmt::format("--arch: {} already names the architecture", options.path));
    ArchConfig arch;
    arch.name = options.path;
    return make_spec(apply(options, arch));
  }
  check_file_or_architecture(options.path);
  return make_spec(apply(options, described_or_plain(options)));
}

void warn_of_patches_beyond_maps(const ModelSpec& spec, const NetworkGeometry& geometry) {
  const auto is_beyond = [](const BlockGeometry& block) {
    return block.grid.granularity > std::max(block.output.height, block.output.width);
  };
  const auto beyond = std::find_if(geometry.blocks.begin(), geometry.blocks.end(), is_beyond);
  if (beyond == geometry.blocks.end()) return;
  const auto others = std::count_if(beyond + 1, geometry.blocks.end(), is_beyond);
  log_warning(fmt::format(
      "{}: S = {} is larger than the block's map, {} x {} for images of {} x {} px: one patch is all of it, "
      "and an image computes all or nothing{}",
      spec.blocks[static_cast<size_t>(beyond - geometry.blocks.begin())].name, beyond->grid.granularity,
      beyond->output.height, beyond->output.width, geometry.input.height, geometry.input.width,
      others > 0 ? fmt::format("; so in {} other block{}", others, others == 1 ? "" : "s") : ""));
}

MaskSet load_masks(const std::string& dir, const std::string& option) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(dir)) {
    fail("{} {}: {}; expected a folder with one <block>.npy per block, as lasnet forward --masks writes it",
         option, dir, fs::exists(dir) ? "is no folder" : "no such folder");
  }
  MaskSet masks;
  std::error_code error;
  for (fs::directory_iterator entry(dir, error), end; !error && entry != end; entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.extension() == ".npy") masks[path.stem().string()] = load_npy_u8(path.string());
  }
  if (error) fail("{} {}: cannot be listed: {}", option, dir, error.message());
  if (masks.empty()) fail("{} {}: there is no .npy file in it; expected <block>.npy per block", option, dir);
  return masks;
}

MapSize parse_size(const std::string& text) {
  constexpr int kMinSide = 32, kMaxSide = 8192;
  const auto side = [&](size_t begin, size_t end) -> int64_t {
    int value = 0;
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    if (error != std::errc() || stop != text.data() + end || value < kMinSide || value > kMaxSide) {
      fail("'{}': expected a side in px or HEIGHTxWIDTH, each from {} to {}", text, kMinSide, kMaxSide);
    }
    return value;
  };
  const size_t cross = text.find('x');
  if (cross == std::string::npos) return {side(0, text.size()), side(0, text.size())};
  return {side(0, cross), side(cross + 1, text.size())};
}

namespace {

/// Threads beyond the processors wait for each other at the end of every convolution.
void warn_of_threads(const std::string& text) {
  const long threads = std::strtol(text.c_str(), nullptr, 10);
  const int usable = usable_processors();
  if (threads <= usable) return;
  log_warning(
      fmt::format("--threads {}: this process may use {} processor{}, and more threads than that only "
                  "wait for each other",
                  threads, usable, usable == 1 ? "" : "s"));
}

/// Refuses combinations without meaning, and says what has none.
void check_session_options(const SessionOptions& options) {
  // An Error names the field, which is the option.
  as_usage([&] { check_backend_options(options.backend, options.isa, options.precision); }, "--");
  if (options.backend == Backend::cuda && options.schedule &&
      options.schedule->traversal == Traversal::row_bands) {
    log_warning("--schedule traversal=row_bands: the cuda backend traverses whole maps only");
  }
}

}  // namespace

void add_session_options(CLI::App& app, SessionOptions& options, int threads) {
  options.threads = threads > 0 ? threads : default_threads();
  add_parsed(app, "--backend",
             "cpu (sparse kernels, the default), cuda (the same on a GPU) or reference (plain loops)",
             [&](const std::string& text) { options.backend = parse_backend(text); })
      ->group(kEngineGroup);
  add_parsed(app, "--precision", "Of the cuda backend: fp32 (the default), tf32, fp16 or bf16",
             [&](const std::string& text) { options.precision = parse_precision(text); })
      ->group(kEngineGroup);
  add_parsed(app, "--isa",
             "Of the cpu backend: scalar, avx2 or avx512; default: the fastest that this machine has",
             [&](const std::string& text) { options.isa = parse_isa(text); })
      ->group(kEngineGroup);
  add_parsed(app, "--schedule",
             "How blocks are executed, as KEY=CHOICE,...: masker=separate|pooled|with_conv1, "
             "gather=indirect|copied, scatter=in_place|separate, traversal=whole_map|row_bands, "
             "whole_map_above=R. Default: chosen for each block. Results differ by rounding at most",
             [&](const std::string& text) { options.schedule = parse_block_plan(text); })
      ->group(kEngineGroup);
  add_number(app, "--threads", options.threads, 1, 1024, "Threads")
      ->group(kEngineGroup)
      ->each(warn_of_threads);
  app.parse_complete_callback([&options] { check_session_options(options); });
}

void add_check_finite_flag(CLI::App& app, bool& check) {
  app.add_flag("--check-finite", check, "Stop at the first layer that gives NaN or infinity, and name it")
      ->group("Engine");
}

void require_cuda_device(const std::string& asked_by, const std::string& instead) {
  if (cuda_devices().empty()) fail("{}: {}; {}", asked_by, cuda_unavailable_reason(), instead);
}

std::string describe_kernels(const Kernels& kernels) {
  if (kernels.backend == Backend::cuda) {
    const auto devices = cuda_devices();
    return fmt::format("cuda {}, {}", to_string(kernels.precision),
                       devices.empty() ? "no device" : devices[0].name);
  }
  return fmt::format("{} {}, {} thread{}", to_string(kernels.backend), to_string(kernels.isa),
                     kernels.threads, kernels.threads == 1 ? "" : "s");
}

std::string describe(const Session& session) {
  return describe_kernels({session.backend(), session.isa(), session.precision(), session.threads()});
}

std::string describe(const ArchConfig& arch) {
  std::string text = arch.name;
  if (arch.width != 1) text += fmt::format(" x{:g}", arch.width);
  return text + (arch.is_dynamic() ? ", S " + granularity_to_string(arch.granularity) : ", static");
}

Json arch_json(const ModelSpec& spec) {
  const ArchConfig& arch = spec.arch;
  Json json = {{"name", arch.name},
               {"width", arch.width},
               {"classes", arch.classes},
               {"stem", to_string(arch.stem)},
               {"granularity", granularity_to_string(arch.granularity)}};
  const bool pools = std::any_of(spec.blocks.begin(), spec.blocks.end(),
                                 [](const BlockSpec& block) { return block.squeeze_excite.has_value(); });
  if (pools) json["se_pool"] = to_string(arch.se_pool);
  return json;
}

void add_input_options(CLI::App& app, InputOptions& options) {
  add_number(app, "--size,--input-size", options.size, 32, 8192,
             "Crop to N x N px instead of the model's own size")
      ->default_str("");
  app.add_flag("--no-crop", options.no_crop, "Keep the whole photograph, at its aspect ratio");
}

Preprocessing apply(const InputOptions& options, Preprocessing preprocessing) {
  if (options.size > 0) {
    const double scale = preprocessing.crop > 0
                             ? static_cast<double>(preprocessing.resize) / preprocessing.crop
                             : 256.0 / 224.0;
    preprocessing.resize = static_cast<int>(std::lround(options.size * scale));
    preprocessing.crop = options.size;
  }
  if (options.no_crop) {
    // The network then sees objects at the scale it was trained on: the crop's side, not the resized one's.
    if (preprocessing.crop > 0) preprocessing.resize = preprocessing.crop;
    preprocessing.crop = 0;
  }
  return preprocessing;
}

std::string class_name(const Model& model, int64_t index) {
  return model.class_names.empty() ? std::to_string(index) : model.class_names[static_cast<size_t>(index)];
}

std::optional<int64_t> image_without_class(const Tensor& logits) {
  const auto is_finite = [](float logit) { return std::isfinite(logit); };
  const auto first = std::find_if_not(logits.data.begin(), logits.data.end(), is_finite);
  if (first == logits.data.end()) return std::nullopt;
  return (first - logits.data.begin()) / logits.shape.at(1);
}

std::vector<int64_t> top_classes(const float* logits, int64_t classes, int k) {
  std::vector<int64_t> order(static_cast<size_t>(classes));
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::min<int64_t>(k, classes);
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int64_t a, int64_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
  order.resize(static_cast<size_t>(count));
  return order;
}

void add_json_flag(CLI::App& app, bool& json) {
  app.add_flag("--json", json, "Print one JSON object on standard output and nothing else there");
}

namespace {

void write_out(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw Error("standard output cannot be written: is the disk full or the pipe closed?");
  }
}

}  // namespace

void print_json(const Json& json) {
  write_out(escaped_json(json.dump(2, ' ', false, Json::error_handler_t::replace)) + "\n");
}

void print(const std::string& text) { write_out(safe_to_print(text)); }

void create_directory(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!std::filesystem::is_directory(path)) {
    fail("{}: cannot create this directory: {}", path, error ? error.message() : "a file is in the way");
  }
}

void add_plot_option(CLI::App& app, std::string& path, const std::string& help) {
  const auto is_svg = [](const std::string& text) -> std::string {
    if (std::filesystem::path(text).extension() == ".svg") return "";
    return fmt::format("'{}': plots are written as SVG; expected a name that ends in .svg", text);
  };
  app.add_option("--plot", path, help)->check(CLI::Validator(is_svg, ""))->type_name("FILE.svg");
}

}  // namespace lasnet::cli
