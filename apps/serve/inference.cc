#include "inference.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/escape.h"
#include "base/finite.h"
#include "base/names.h"
#include "base/suggest.h"
#include "base64.h"
#include "classes.h"
#include "engine/executable.h"
#include "lasnet/operating_point.h"
#include "lasnet/report.h"
#include "operating_options.h"
#include "request_error.h"
#include "terminal.h"

namespace lasnet::serve {
namespace {

constexpr int64_t kMinSide = 32, kMaxSide = 8192;

/// What other programs' clients send, and this server has no use for.
constexpr const char* kUnusedParameters[] = {"binary_data_output", "priority", "content_type", "headers"};

/// What `function` returns; an Error from it is the request's fault, and is said after `place`.
template <typename Function>
auto as_refusal(const std::string& place, const Function& function) {
  try {
    return function();
  } catch (const RequestError&) {
    throw;
  } catch (const Error& error) {
    refuse("{}: {}", place, error.what());
  }
}

// ---- parameters ------------------------------------------------------------------------------------------

/// The parameters of a request, each of which is read once.
class Parameters {
 public:
  explicit Parameters(const Json& json) : json_(json) {}

  bool has(const char* name) const { return json_.contains(name); }

  double number(const char* name, double low, double high) const {
    const Json& value = json_.at(name);
    if (!value.is_number() || !(value.get<double>() >= low && value.get<double>() <= high))
      refuse("parameters.{}: {}; expected a number from {:g} to {:g}", name, excerpt(value.dump()), low,
             high);
    return value.get<double>();
  }
  int64_t whole(const char* name, int64_t low, int64_t high) const {
    const Json& value = json_.at(name);
    if (!value.is_number_integer() || value.get<int64_t>() < low || value.get<int64_t>() > high) {
      refuse("parameters.{}: {}; expected a whole number from {} to {}", name, excerpt(value.dump()), low,
             high);
    }
    return value.get<int64_t>();
  }
  bool boolean(const char* name) const {
    const Json& value = json_.at(name);
    if (!value.is_boolean()) refuse("parameters.{}: {}; expected true or false", name, excerpt(value.dump()));
    return value.get<bool>();
  }
  /// A number, or a text of one or several with commas between.
  std::vector<float> thresholds(const ModelSpec& spec) const {
    const Json& value = json_.at("threshold");
    std::vector<float> thresholds;
    if (value.is_number()) {
      thresholds = {value.get<float>()};
    } else if (value.is_string()) {
      thresholds =
          as_refusal("parameters.threshold", [&] { return cli::parse_thresholds(value.get<std::string>()); });
    } else {
      refuse("parameters.threshold: {}; expected a number, or a text of numbers with commas between",
             excerpt(value.dump()));
    }
    as_refusal("parameters.threshold", [&] { check_thresholds(thresholds, spec); });
    return thresholds;
  }

 private:
  const Json& json_;
};

const std::vector<std::string> kParameterNames = {"threshold", "macs",  "budget_ms",
                                                  "dense",     "top_k", "timeout"};

void check_parameter_names(const Json& parameters) {
  for (const auto& [name, value] : parameters.items()) {
    if (std::ranges::find(kParameterNames, name) != kParameterNames.end()) continue;
    if (std::ranges::find(kUnusedParameters, name) != std::end(kUnusedParameters)) continue;
    const std::string near = nearest_name(name, kParameterNames);
    refuse("parameters.{}: is no parameter here{}; expected {}", excerpt(name),
           near.empty() ? "" : fmt::format(" (did you mean {}?)", near), some_of(kParameterNames));
  }
}

std::vector<float> thresholds_by_time(const ServedModel& model, double budget_ms, std::optional<MapSize> size,
                                      int threads) {
  if (!model.hardware) refuse("parameters.budget_ms: times of this session are not predicted; use macs");
  const MapSize image = size.value_or(model.usual_size());
  const auto choose = [&] {
    return operating_point(model.model, {.seconds = budget_ms / 1e3,
                                         .hardware = model.hardware,
                                         .size = image,
                                         .threads = threads,
                                         .precision = model.hardware->usual_precision()})
        .thresholds;
  };
  return as_refusal("parameters.budget_ms", [&] {
    return model.budgets->get({budget_ms, image, threads}, choose);
  });
}

/// What RunOptions::thresholds is to be.
std::vector<float> thresholds_of(const Parameters& parameters, const ServedModel& model,
                                 std::optional<MapSize> size, int threads) {
  const bool chosen[] = {parameters.has("threshold"), parameters.has("macs"), parameters.has("budget_ms"),
                         parameters.has("dense") && parameters.boolean("dense")};
  const auto count = std::ranges::count(chosen, true);
  if (count == 0 || chosen[3]) {
    if (count > 1) refuse("parameters.dense: computes everything; leave out threshold, macs and budget_ms");
    return {};
  }
  if (count > 1) refuse("parameters: threshold, macs and budget_ms exclude each other; expected one of them");
  if (!model.model.spec.arch.is_dynamic())
    refuse(
        "parameters: {} is a static network, which computes everything; leave out threshold, macs and "
        "budget_ms",
        model.name);
  if (chosen[0]) return parameters.thresholds(model.model.spec);
  const char* const name = chosen[1] ? "macs" : "budget_ms";
  if (model.model.operating_points.empty()) {
    refuse("parameters.{}: {} has no operating points; `lasnet tune` finds them, or give a threshold", name,
           model.name);
  }
  if (chosen[2]) return thresholds_by_time(model, parameters.number("budget_ms", 1e-3, 1e9), size, threads);
  const double macs = parameters.number("macs", 0, 1);
  return as_refusal("parameters.macs",
                    [&] { return operating_point(model.model, {.macs = macs}).thresholds; });
}

// ---- inputs and outputs ----------------------------------------------------------------------------------

void check_images(int64_t images, const InferenceLimits& limits) {
  if (images > limits.max_images)
    refuse("inputs[0].shape: {} images; expected at most {} in a request", images, limits.max_images);
}

void check_input_size(MapSize size, int64_t images, const InferenceLimits& limits, const std::string& place) {
  const bool is_small = size.height < kMinSide || size.width < kMinSide;
  if (is_small || size.height > kMaxSide || size.width > kMaxSide) {
    refuse("{}: {} x {} px; expected sides from {} to {}", place, size.height, size.width, kMinSide,
           kMaxSide);
  }
  if (size.pixels() > limits.max_input_pixels / images) {
    refuse("{}: {} image{} of {} x {} px; expected at most {} pixels in a request", place, images,
           images == 1 ? "" : "s", size.height, size.width, limits.max_input_pixels);
  }
}

void resolve_tensor(const InputTensor& input, const InferenceLimits& limits, Inference& inference) {
  if (input.datatype != "FP32")
    refuse("inputs[0].datatype: {}; expected FP32 for input", excerpt(input.datatype));
  const Shape& shape = input.shape;
  if (shape.size() != 4 || shape[1] != 3)
    refuse("inputs[0].shape: {}; expected [N, 3, H, W] for input", to_string(shape));
  inference.images = shape[0];
  check_images(inference.images, limits);
  inference.size = MapSize{shape[2], shape[3]};
  check_input_size(*inference.size, inference.images, limits, "inputs[0].shape");
}

void resolve_images(const InputTensor& input, const InferenceLimits& limits, Inference& inference) {
  if (input.datatype != "BYTES")
    refuse("inputs[0].datatype: {}; expected BYTES for image", excerpt(input.datatype));
  inference.is_image = true;
  inference.images = element_count(input.shape);  // which the elements fill
  check_images(inference.images, limits);
  inference.size = inference.model->image_size();
  if (inference.size) check_input_size(*inference.size, inference.images, limits, "inputs[0]");
}

void resolve_inputs(const InferenceLimits& limits, Inference& inference) {
  const std::vector<InputTensor>& inputs = inference.request.inputs;
  if (inputs.size() != 1) {
    refuse("inputs: {} tensors; expected one: either input (FP32 [N, 3, H, W]) or image (BYTES [N])",
           inputs.size());
  }
  const InputTensor& input = inputs.front();
  if (input.name == "input") return resolve_tensor(input, limits, inference);
  if (input.name == "image") return resolve_images(input, limits, inference);
  refuse("inputs[0].name: '{}'; expected input or image", excerpt(input.name));
}

/// The outputs of a name. "masks": those of all blocks.
std::vector<OutputSpec> find_outputs(const ServedModel& model, const std::string& name,
                                     const std::string& place) {
  std::vector<OutputSpec> found;
  std::vector<std::string> names;
  for (const OutputSpec& output : model.outputs) {
    if (output.name == name || (name == "masks" && output.kind == OutputKind::mask)) found.push_back(output);
    names.push_back(output.name);
  }
  if (!found.empty()) return found;
  const std::string near = nearest_name(name, names);
  refuse("{}.name: {} has no output '{}'{}; expected {}", place, model.name, excerpt(name),
         near.empty() ? "" : fmt::format(" (did you mean {}?)", near), some_of(names));
}

std::vector<RequestedOutput> usual_outputs(const InferRequest& request, bool with_classes) {
  std::vector<std::string> names = {"logits", "probabilities", "macs_ratio"};
  if (with_classes) names = {"classes", "scores", "macs_ratio"};
  std::vector<RequestedOutput> outputs;
  for (const std::string& name : names) outputs.push_back({.name = name, .binary = request.binary_outputs});
  return outputs;
}

void resolve_outputs(Inference& inference) {
  const bool with_classes = inference.request.parameters.contains("top_k");
  std::vector<RequestedOutput> requested = inference.request.outputs;
  if (requested.empty()) requested = usual_outputs(inference.request, with_classes);
  for (size_t i = 0; i < requested.size(); ++i) {
    const std::string place = fmt::format("outputs[{}]", i);
    for (const OutputSpec& spec : find_outputs(*inference.model, requested[i].name, place)) {
      const bool has_classes = spec.kind == OutputKind::logits || spec.kind == OutputKind::probabilities;
      if (requested[i].classification > 0 && !has_classes)
        refuse("{}.parameters.classification: {} has no value per class; ask for logits or probabilities",
               place, spec.name);
      if (spec.kind == OutputKind::heat_map && !inference.is_image)
        refuse("{}: a heat map shows the photograph; send image instead of input, or ask for density", place);
      const auto is_same = [&](const WantedOutput& other) { return other.spec.name == spec.name; };
      if (std::ranges::any_of(inference.outputs, is_same))
        refuse("{}.name: {} is there twice", place, spec.name);
      inference.outputs.push_back({spec, requested[i].binary, requested[i].classification});
    }
  }
}

// ---- preparing -------------------------------------------------------------------------------------------

/// The values of a tensor, where they are if they lie as floats have to. Else `copy` takes them.
std::span<const float> values_of(const InputTensor& input, std::vector<float>& copy) {
  if (!input.raw) return input.floats;
  const char* const bytes = input.raw->data();
  const size_t count = input.raw->size() / sizeof(float);
  if (reinterpret_cast<uintptr_t>(bytes) % alignof(float) == 0)
    return {reinterpret_cast<const float*>(bytes), count};
  copy.resize(count);
  std::memcpy(copy.data(), bytes, input.raw->size());
  return copy;
}

PreparedInput tensor_input(const InputTensor& input) {
  PreparedInput prepared;
  const std::span<const float> values = values_of(input, prepared.values);
  if (!all_finite(values)) {
    const auto bad = std::ranges::find_if_not(values, [](float value) { return std::isfinite(value); });
    refuse("inputs[0].data: value {} is {}; expected finite numbers", bad - values.begin(), *bad);
  }
  prepared.input = {input.shape, values};
  return prepared;
}

PreparedInput photo_input(const Inference& inference, const InferenceLimits& limits) {
  const Preprocessing& preprocessing = inference.model->model.preprocessing;
  const auto has_pictures = std::ranges::any_of(
      inference.outputs, [](const WantedOutput& output) { return output.spec.kind == OutputKind::heat_map; });
  PreparedInput prepared;
  std::optional<MapSize> size = inference.size;
  const auto files = inference.request.inputs.front().elements();
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string place = fmt::format("inputs[0].data[{}]", i);
    const Image photo = as_refusal(place, [&] {
      return decode_image(reinterpret_cast<const uint8_t*>(files[i].data()), files[i].size(), "image",
                          {.max_pixels = limits.max_photo_pixels});
    });
    const MapSize own = preprocessed_size({photo.height, photo.width}, preprocessing);
    if (!size) check_input_size(own, inference.images, limits, place);
    if (size && !(*size == own)) {
      refuse(
          "{}: becomes an input of {} x {} px, the first image one of {} x {}; send images of different "
          "shape "
          "one by one",
          place, own.height, own.width, size->height, size->width);
    }
    size = own;
    const size_t values = static_cast<size_t>(3 * own.pixels());
    prepared.values.resize((i + 1) * values);
    as_refusal(place, [&] {
      preprocess(photo, preprocessing, std::span(prepared.values).subspan(i * values, values));
    });
    if (has_pictures) prepared.photos.push_back(visible_part(photo, preprocessing));
  }
  prepared.input = {{inference.images, 3, size->height, size->width}, prepared.values};
  return prepared;
}

// ---- answering -------------------------------------------------------------------------------------------

/// One request's rows of a run's result.
struct Rows {
  const Inference& inference;
  const PreparedInput& prepared;
  const Result& result;
  int64_t first;

  int64_t images() const { return inference.images; }
  int64_t classes() const { return result.logits.shape.at(1); }
  std::span<const float> logits(int64_t image) const {
    return std::span(result.logits.data)
        .subspan(static_cast<size_t>((first + image) * classes()), static_cast<size_t>(classes()));
  }
};

void check_logits(const Rows& rows) {
  for (int64_t i = 0; i < rows.images(); ++i) {
    if (!all_finite(rows.logits(i)))
      refuse(
          "inputs[0]: the logits of image {} are not finite numbers; its values are larger than the network "
          "takes",
          i);
  }
}

template <typename T, typename Function>
std::vector<T> per_image(const Rows& rows, const Function& append) {
  std::vector<T> values;
  for (int64_t i = 0; i < rows.images(); ++i) append(i, values);
  return values;
}

std::vector<float> logits_of(const Rows& rows) {
  return per_image<float>(rows, [&](int64_t i, std::vector<float>& values) {
    values.insert(values.end(), rows.logits(i).begin(), rows.logits(i).end());
  });
}

std::vector<float> probabilities_of(const Rows& rows) {
  return per_image<float>(rows, [&](int64_t i, std::vector<float>& values) {
    for (const double value : cli::softmax(rows.logits(i))) values.push_back(static_cast<float>(value));
  });
}

std::vector<int64_t> best_of(const Rows& rows, int64_t image, int k) {
  return cli::top_classes(rows.logits(image).data(), rows.classes(), k);
}

std::vector<std::string> class_names_of(const Rows& rows, int k) {
  return per_image<std::string>(rows, [&](int64_t i, std::vector<std::string>& values) {
    for (const int64_t index : best_of(rows, i, k))
      values.push_back(cli::class_name(rows.inference.model->model, index));
  });
}

std::vector<float> scores_of(const Rows& rows, int k) {
  return per_image<float>(rows, [&](int64_t i, std::vector<float>& values) {
    const std::vector<double> all = cli::softmax(rows.logits(i));
    for (const int64_t index : best_of(rows, i, k))
      values.push_back(static_cast<float>(all[static_cast<size_t>(index)]));
  });
}

/// "value:index:label", best first, as Triton's classification extension has it.
std::vector<std::string> classification_of(const Rows& rows, const std::vector<float>& all, int k) {
  return per_image<std::string>(rows, [&](int64_t i, std::vector<std::string>& values) {
    for (const int64_t index : best_of(rows, i, k)) {
      const float value = all[static_cast<size_t>(i * rows.classes() + index)];
      std::string text = fmt::format("{:f}:{}", value, index);
      const Model& model = rows.inference.model->model;
      if (!model.class_names.empty()) text += ":" + cli::class_name(model, index);
      values.push_back(std::move(text));
    }
  });
}

std::vector<float> rates_of(const Rows& rows) {
  return per_image<float>(rows, [&](int64_t i, std::vector<float>& values) {
    for (const BlockTrace& block : rows.result.trace.blocks)
      values.push_back(static_cast<float>(block.rates.at(static_cast<size_t>(rows.first + i))));
  });
}

std::vector<float> macs_ratios_of(const Rows& rows) {
  return per_image<float>(rows, [&](int64_t i, std::vector<float>& values) {
    values.push_back(static_cast<float>(macs_ratio_of(rows.result.trace, rows.first + i, 1)));
  });
}

std::vector<uint8_t> mask_of(const Rows& rows, const BlockTrace& block) {
  const int64_t pixels = block.height * block.width;
  const auto begin = block.mask.data.begin() + rows.first * pixels;
  return {begin, begin + rows.images() * pixels};
}

MapSize input_size(const Rows& rows) { return {rows.prepared.input.shape[2], rows.prepared.input.shape[3]}; }

std::vector<float> densities_of(const Rows& rows) {
  const MapSize size = input_size(rows);
  return per_image<float>(rows, [&](int64_t i, std::vector<float>& values) {
    const auto density = compute_density(rows.result.trace, rows.first + i, static_cast<int>(size.height),
                                         static_cast<int>(size.width));
    values.insert(values.end(), density.begin(), density.end());
  });
}

std::vector<std::string> heat_maps_of(const Rows& rows) {
  return per_image<std::string>(rows, [&](int64_t i, std::vector<std::string>& values) {
    const int64_t best = best_of(rows, i, 1).front();
    const double probability = cli::softmax(rows.logits(i))[static_cast<size_t>(best)];
    const PictureOptions options{
        .index = rows.first + i,
        .input = input_size(rows),
        .title = fmt::format("{} {}", cli::class_name(rows.inference.model->model, best),
                             cli::format_percent(probability))};
    const auto png =
        encode_png(heat_map(rows.prepared.photos.at(static_cast<size_t>(i)), rows.result.trace, options));
    values.emplace_back(png.begin(), png.end());
  });
}

OutputTensor output_of(const Rows& rows, const WantedOutput& wanted) {
  const OutputSpec& spec = wanted.spec;
  const int64_t images = rows.images(), classes = rows.classes();
  const int64_t top = std::min<int64_t>(rows.inference.top_k, classes);
  OutputTensor output{
      .name = spec.name, .datatype = spec.datatype, .shape = {images}, .values = {}, .binary = wanted.binary};
  switch (spec.kind) {
    case OutputKind::logits:
    case OutputKind::probabilities: {
      std::vector<float> all = spec.kind == OutputKind::logits ? logits_of(rows) : probabilities_of(rows);
      if (wanted.classification > 0) {
        output.datatype = "BYTES";
        output.shape = {images, std::min<int64_t>(wanted.classification, classes)};
        output.values = classification_of(rows, all, wanted.classification);
        return output;
      }
      output.shape = {images, classes};
      output.values = std::move(all);
      return output;
    }
    case OutputKind::classes:
      output.shape = {images, top};
      output.values = class_names_of(rows, rows.inference.top_k);
      return output;
    case OutputKind::scores:
      output.shape = {images, top};
      output.values = scores_of(rows, rows.inference.top_k);
      return output;
    case OutputKind::macs_ratio:
      output.values = macs_ratios_of(rows);
      return output;
    case OutputKind::rates:
      output.shape = {images, static_cast<int64_t>(rows.result.trace.blocks.size())};
      output.values = rates_of(rows);
      return output;
    case OutputKind::mask: {
      const BlockTrace& block = rows.result.trace.blocks.at(spec.block);
      output.shape = {images, block.height, block.width};
      output.values = mask_of(rows, block);
      return output;
    }
    case OutputKind::density:
      output.shape = {images, input_size(rows).height, input_size(rows).width};
      output.values = densities_of(rows);
      return output;
    case OutputKind::heat_map:
      output.values = heat_maps_of(rows);
      output.base64 = true;
      return output;
  }
  fail("output {}: unknown kind", spec.name);
}

// ---- writing ---------------------------------------------------------------------------------------------

template <typename... Kinds>
struct Overloaded : Kinds... {
  using Kinds::operator()...;
};
template <typename... Kinds>
Overloaded(Kinds...) -> Overloaded<Kinds...>;

/// Values behind the JSON: little-endian, texts after their length in four bytes.
std::string raw_bytes(const OutputTensor& output) {
  return std::visit(
      Overloaded{[](const std::vector<float>& values) {
                   return std::string(reinterpret_cast<const char*>(values.data()),
                                      values.size() * sizeof(float));
                 },
                 [](const std::vector<uint8_t>& values) { return std::string(values.begin(), values.end()); },
                 [](const std::vector<std::string>& values) {
                   std::string bytes;
                   for (const std::string& value : values) {
                     const uint32_t length = static_cast<uint32_t>(value.size());
                     bytes.append(reinterpret_cast<const char*>(&length), sizeof(length));
                     bytes += value;
                   }
                   return bytes;
                 }},
      output.values);
}

std::string json_text(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Numbers as the shortest text that reads back as the same, which a general writer would not give.
void append_json_values(const OutputTensor& output, std::string& text) {
  const auto append_all = [&](const auto& values, const auto& append) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (i > 0) text += ',';
      append(values[i]);
    }
  };
  const auto append_number = [&](auto value) { fmt::format_to(std::back_inserter(text), "{}", value); };
  const auto append_text = [&](const std::string& value) {
    text += json_text(output.base64 ? cli::to_base64(value) : value);
  };
  std::visit(Overloaded{[&](const std::vector<std::string>& values) { append_all(values, append_text); },
                        [&](const auto& values) { append_all(values, append_number); }},
             output.values);
}

}  // namespace

bool Inference::needs_masks() const {
  return std::ranges::any_of(outputs, [](const WantedOutput& output) {
    return output.spec.kind == OutputKind::mask || output.spec.kind == OutputKind::density ||
           output.spec.kind == OutputKind::heat_map;
  });
}

bool Inference::runs_with(const Inference& other) const {
  return model == other.model && size && size == other.size && dense == other.dense &&
         thresholds == other.thresholds;
}

Inference resolve(std::shared_ptr<const ServedModel> model, InferRequest request,
                  const InferenceLimits& limits, int threads) {
  check_parameter_names(request.parameters);
  Inference inference;
  inference.model = std::move(model);
  inference.request = std::move(request);
  const Parameters parameters(inference.request.parameters);
  resolve_inputs(limits, inference);
  if (parameters.has("top_k")) inference.top_k = static_cast<int>(parameters.whole("top_k", 1, 1'000'000));
  if (parameters.has("dense")) inference.dense = parameters.boolean("dense");
  if (parameters.has("timeout")) {
    const int64_t microseconds = parameters.whole("timeout", 0, int64_t{1} << 50);
    if (microseconds > 0) inference.timeout = std::chrono::microseconds(microseconds);
  }
  resolve_outputs(inference);
  inference.thresholds = thresholds_of(parameters, *inference.model, inference.size, threads);
  return inference;
}

PreparedInput prepare(const Inference& inference, const InferenceLimits& limits) {
  if (inference.is_image) return photo_input(inference, limits);
  return tensor_input(inference.request.inputs.front());
}

double macs_ratio_of(const Trace& trace, int64_t first, int64_t images) {
  double macs = 0;
  for (int64_t i = first; i < first + images; ++i) macs += trace.image_macs.at(static_cast<size_t>(i));
  return macs / static_cast<double>(images) / static_cast<double>(trace.static_macs);
}

std::vector<OutputTensor> outputs_of(const Inference& inference, const PreparedInput& prepared,
                                     const Result& result, int64_t first) {
  const Rows rows{inference, prepared, result, first};
  check_logits(rows);
  std::vector<OutputTensor> outputs;
  for (const WantedOutput& wanted : inference.outputs) outputs.push_back(output_of(rows, wanted));
  return outputs;
}

HttpResponse infer_response(const Inference& inference, const std::vector<OutputTensor>& outputs,
                            const AnswerFacts& facts) {
  HttpResponse response;
  std::string& text = response.body;
  text = fmt::format(R"({{"model_name":{},"model_version":"{}")", json_text(inference.model->name),
                     kModelVersion);
  if (!inference.request.id.empty()) text += R"(,"id":)" + json_text(inference.request.id);
  text += fmt::format(R"(,"parameters":{{"macs_ratio":{:.6g},"run_ms":{:.6g}}},"outputs":[)",
                      facts.macs_ratio, facts.run_ms);
  std::string tail;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const OutputTensor& output = outputs[i];
    text += fmt::format(R"({}{{"name":{},"datatype":"{}","shape":[{}])", i > 0 ? "," : "",
                        json_text(output.name), output.datatype, fmt::join(output.shape, ","));
    if (output.binary) {
      const std::string bytes = raw_bytes(output);
      text += fmt::format(R"(,"parameters":{{"binary_data_size":{}}})", bytes.size());
      tail += bytes;
    } else {
      text += R"(,"data":[)";
      append_json_values(output, text);
      text += ']';
    }
    text += '}';
  }
  text += "]}";
  if (tail.empty()) return response;
  response.headers.emplace_back("Inference-Header-Content-Length", std::to_string(text.size()));
  response.content_type = "application/octet-stream";
  text += tail;
  return response;
}

}  // namespace lasnet::serve
