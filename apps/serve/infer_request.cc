#include "infer_request.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/escape.h"
#include "base/numbers.h"
#include "base64.h"
#include "request_error.h"

namespace lasnet::serve {
namespace {

static_assert(std::endian::native == std::endian::little, "raw tensors are little-endian");

constexpr size_t kMaxValues = 2000;  ///< of JSON beside the tensors' data
constexpr size_t kMaxDepth = 16;
constexpr int kMaxDataDepth = 8;
constexpr int64_t kMaxDimension = int64_t{1} << 31;

/// The data of one input, flattened.
struct InputData {
  std::vector<float> floats;
  std::vector<std::string> texts;
};

/// Builds JSON values of what is small, and moves the data of inputs into flat vectors as it is read. So a
/// body takes no more memory than a few times its size.
class RequestReader final : public nlohmann::json_sax<Json> {
 public:
  explicit RequestReader(size_t max_data) : max_data_(max_data) {}

  Json root;
  std::vector<InputData> data;  ///< of inputs[i]

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return number(static_cast<double>(value), value); }
  bool number_unsigned(number_unsigned_t value) override { return number(static_cast<double>(value), value); }
  bool number_float(number_float_t value, const string_t&) override { return number(value, value); }
  bool string(string_t& value) override {
    if (data_depth_ == 0) return scalar(value);
    if (!current().floats.empty()) refuse("{}: numbers and texts; expected one of them", data_name());
    count_data();
    current().texts.push_back(std::move(value));
    return true;
  }
  bool binary(binary_t&) override { return false; }  // JSON has none

  bool start_object(std::size_t) override {
    if (data_depth_ > 0) refuse("{}: holds an object; expected numbers or texts", data_name());
    open(Json::object());
    return true;
  }
  bool key(string_t& value) override {
    if (stack_.back()->contains(value)) refuse("body: '{}' is there twice", excerpt(value));
    key_ = value;
    return true;
  }
  bool end_object() override { return close(); }

  bool start_array(std::size_t) override {
    if (data_depth_ > 0 || begins_data()) {
      if (++data_depth_ > kMaxDataDepth)
        refuse("{}: arrays nested more than {} deep", data_name(), kMaxDataDepth);
      if (data_depth_ == 1) begin_data();
    } else {
      open(Json::array());
    }
    return true;
  }
  bool end_array() override {
    if (data_depth_ == 0) return close();
    --data_depth_;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    const std::string text = error.what();  // "[json.exception...] parse error at line ...: what"
    const size_t colon = text.find(": ");
    refuse("body: no JSON at byte {}: {}", position, text.substr(colon == std::string::npos ? 0 : colon + 2));
  }

 private:
  /// Whether the array that begins is inputs[i].data.
  bool begins_data() const { return stack_.size() == 3 && keys_[1] == "inputs" && key_ == "data"; }
  void begin_data() {
    const size_t index = stack_[1]->size() - 1;
    if (index < data.size()) refuse("body: inputs[{}].data is there twice", index);
    data.resize(index + 1);
  }
  InputData& current() { return data.back(); }
  void count_data() {
    if (++data_count_ > max_data_)
      refuse("{}: more than {} values, which no input has", data_name(), max_data_);
  }
  std::string data_name() const { return fmt::format("inputs[{}].data", data.size() - 1); }

  bool number(double value, const Json& json) {
    if (data_depth_ == 0) return scalar(json);
    if (!current().texts.empty()) refuse("{}: numbers and texts; expected one of them", data_name());
    count_data();
    current().floats.push_back(static_cast<float>(value));
    return true;
  }
  bool scalar(Json value) {
    if (data_depth_ > 0) refuse("{}: holds {}; expected numbers or texts", data_name(), value.dump());
    add(std::move(value));
    return true;
  }
  Json* add(Json value) {
    if (++values_ > kMaxValues) refuse("body: more than {} JSON values beside the tensors' data", kMaxValues);
    if (stack_.empty()) return &(root = std::move(value));
    Json& parent = *stack_.back();
    if (parent.is_array()) return &parent.emplace_back(std::move(value));
    return &(parent[key_] = std::move(value));
  }
  void open(Json container) {
    if (stack_.size() >= kMaxDepth) refuse("body: nested more than {} deep", kMaxDepth);
    keys_.push_back(key_);
    stack_.push_back(add(std::move(container)));
  }
  bool close() {
    stack_.pop_back();
    keys_.pop_back();
    return true;
  }

  std::vector<Json*> stack_;       ///< open containers, the root first
  std::vector<std::string> keys_;  ///< under which each of them stands
  std::string key_;
  size_t values_ = 0;
  const size_t max_data_;
  size_t data_count_ = 0;
  int data_depth_ = 0;  ///< of the arrays of inputs[i].data
};

std::string kind_of(const Json& value) { return value.is_null() ? "null" : std::string(value.type_name()); }

const Json* find(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

std::string text_of(const Json& object, const char* key, const std::string& place) {
  const Json* const value = find(object, key);
  if (value == nullptr) refuse("{}.{}: is missing; expected a text", place, key);
  if (!value->is_string()) refuse("{}.{}: {}; expected a text", place, key, kind_of(*value));
  return value->get<std::string>();
}

/// "parameters" of a request, an input or an output: an object of plain values.
Json parameters_of(const Json& object, const std::string& place) {
  const Json* const parameters = find(object, "parameters");
  if (parameters == nullptr) return Json::object();
  if (!parameters->is_object()) refuse("{}: {}; expected an object", place, kind_of(*parameters));
  for (const auto& [name, value] : parameters->items()) {
    if (!value.is_primitive() || value.is_null())
      refuse("{}.{}: {}; expected a number, a text or a boolean", place, excerpt(name), kind_of(value));
  }
  if (parameters->contains("shared_memory_region"))
    refuse("{}.shared_memory_region: this server has no shared memory; send the data in the request", place);
  return *parameters;
}

bool boolean_parameter(const Json& parameters, const char* key, const std::string& place) {
  const Json* const value = find(parameters, key);
  if (value == nullptr) return false;
  if (!value->is_boolean()) refuse("{}.{}: {}; expected true or false", place, key, kind_of(*value));
  return value->get<bool>();
}

std::optional<int64_t> count_parameter(const Json& parameters, const char* key, const std::string& place) {
  const Json* const value = find(parameters, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_unsigned() || value->get<uint64_t>() > INT32_MAX)
    refuse("{}.{}: {}; expected a whole number", place, key, excerpt(value->dump()));
  return value->get<int64_t>();
}

const Json& array_of(const Json& root, const char* key) {
  const Json* const value = find(root, key);
  static const Json kEmpty = Json::array();
  if (value == nullptr) return kEmpty;
  if (!value->is_array()) refuse("{}: {}; expected an array", key, kind_of(*value));
  return *value;
}

Shape shape_of(const Json& input, const std::string& place) {
  const Json* const value = find(input, "shape");
  if (value == nullptr || !value->is_array() || value->empty() || value->size() > FewDimensions::kMost) {
    refuse("{}.shape: {}; expected an array of 1 to {} whole numbers", place,
           value == nullptr ? "is missing" : kind_of(*value), FewDimensions::kMost);
  }
  Shape shape;
  for (const Json& side : *value) {
    if (!side.is_number_unsigned() || side.get<uint64_t>() < 1 || side.get<uint64_t>() > kMaxDimension)
      refuse("{}.shape: holds {}; expected whole numbers from 1", place, excerpt(side.dump()));
    shape.push_back(side.get<int64_t>());
  }
  return shape;
}

/// How many values fill the shape. Refuses what no body could hold.
uint64_t values_of(const InputTensor& input, const std::string& place) {
  try {
    return static_cast<uint64_t>(element_count(input.shape));
  } catch (const Error&) {
    refuse("{}.shape: {} has more values than can be counted", place, to_string(input.shape));
  }
}

void check_count(const InputTensor& input, uint64_t count, const std::string& place) {
  const uint64_t expected = values_of(input, place);
  if (count != expected) {
    refuse("{}.data: {} values; expected {}, which fill shape {}", place, count, expected,
           to_string(input.shape));
  }
}

void take_json_data(InputTensor& input, InputData& data, const std::string& place) {
  if (input.datatype == "BYTES") {
    if (!data.floats.empty()) refuse("{}.data: numbers; expected base64 texts for BYTES", place);
    check_count(input, data.texts.size(), place);
    for (std::string& text : data.texts) {
      auto bytes = cli::from_base64(text);
      if (!bytes) refuse("{}.data: a text that is not base64; JSON holds binary files in base64", place);
      text = std::move(*bytes);
    }
    input.texts = std::move(data.texts);
    return;
  }
  if (!data.texts.empty()) refuse("{}.data: texts; expected numbers for {}", place, excerpt(input.datatype));
  check_count(input, data.floats.size(), place);
  input.floats = std::move(data.floats);
}

/// Elements of a raw BYTES tensor: each is its length in four little-endian bytes, then the bytes.
std::vector<std::string_view> split_raw_texts(std::string_view raw, const InputTensor& input,
                                              const std::string& place) {
  std::vector<std::string_view> elements;
  while (!raw.empty()) {
    uint32_t length = 0;
    if (raw.size() < sizeof(length))
      refuse("{}: {} bytes behind the last element of BYTES", place, raw.size());
    std::memcpy(&length, raw.data(), sizeof(length));
    raw.remove_prefix(sizeof(length));
    if (length > raw.size()) {
      refuse(
          "{}: element {} of BYTES claims {} bytes; {} are left. Each element follows its length, 4 bytes, "
          "little-endian",
          place, elements.size(), length, raw.size());
    }
    elements.push_back(raw.substr(0, length));
    raw.remove_prefix(length);
  }
  check_count(input, elements.size(), place);
  return elements;
}

void take_raw_data(InputTensor& input, std::string_view raw, const std::string& place) {
  if (input.datatype == "BYTES") {
    input.raw_texts = split_raw_texts(raw, input, place);
    return;
  }
  const uint64_t expected = values_of(input, place);
  if (input.datatype == "FP32" &&
      (raw.size() % sizeof(float) != 0 || raw.size() / sizeof(float) != expected)) {
    refuse(
        "{}.parameters.binary_data_size: {} bytes; expected {} FP32 values of 4 bytes, which fill shape {}",
        place, raw.size(), expected, to_string(input.shape));
  }
  input.raw = raw;
}

/// Reads inputs; `tail` is what lies behind the JSON, and is used up.
std::vector<InputTensor> read_inputs(RequestReader& reader, std::string_view tail) {
  const Json& list = array_of(reader.root, "inputs");
  reader.data.resize(list.size());
  std::vector<InputTensor> inputs;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = fmt::format("inputs[{}]", i);
    const Json& json = list[i];
    if (!json.is_object()) refuse("{}: {}; expected an object", place, kind_of(json));
    InputTensor input{.name = text_of(json, "name", place),
                      .datatype = text_of(json, "datatype", place),
                      .shape = shape_of(json, place)};
    const Json parameters = parameters_of(json, place + ".parameters");
    if (const auto size = count_parameter(parameters, "binary_data_size", place + ".parameters")) {
      if (!reader.data[i].floats.empty() || !reader.data[i].texts.empty())
        refuse("{}: has data and binary_data_size; expected one of them", place);
      if (static_cast<uint64_t>(*size) > tail.size()) {
        refuse("{}.parameters.binary_data_size: {} bytes; {} are left behind the JSON", place, *size,
               tail.size());
      }
      take_raw_data(input, tail.substr(0, static_cast<size_t>(*size)), place);
      tail.remove_prefix(static_cast<size_t>(*size));
    } else {
      take_json_data(input, reader.data[i], place);
    }
    inputs.push_back(std::move(input));
  }
  if (!tail.empty()) {
    refuse(
        "body: {} bytes behind the JSON and the tensors; the inputs' binary_data_size do not add up to them",
        tail.size());
  }
  return inputs;
}

std::vector<RequestedOutput> read_outputs(const Json& root, bool binary_outputs) {
  std::vector<RequestedOutput> outputs;
  const Json& list = array_of(root, "outputs");
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string place = fmt::format("outputs[{}]", i);
    if (!list[i].is_object()) refuse("{}: {}; expected an object", place, kind_of(list[i]));
    const Json parameters = parameters_of(list[i], place + ".parameters");
    const bool is_said = parameters.contains("binary_data");
    outputs.push_back(
        {.name = text_of(list[i], "name", place),
         .binary =
             is_said ? boolean_parameter(parameters, "binary_data", place + ".parameters") : binary_outputs,
         .classification = static_cast<int>(
             count_parameter(parameters, "classification", place + ".parameters").value_or(0))});
  }
  return outputs;
}

/// One image file, which the whole body is.
InferRequest image_request(std::string_view body) {
  if (body.empty()) refuse("body: is empty; expected an image file");
  InferRequest request;
  request.inputs.push_back({.name = "image", .datatype = "BYTES", .shape = {1}, .raw_texts = {body}});
  return request;
}

/// Whether the bytes begin as a JPEG, PNG or WebP file does.
bool is_image_file(std::string_view bytes) {
  return bytes.starts_with("\xff\xd8\xff") || bytes.starts_with("\x89PNG") ||
         (bytes.starts_with("RIFF") && bytes.substr(std::min<size_t>(8, bytes.size())).starts_with("WEBP"));
}

/// Of the JSON at the beginning of the body.
size_t json_size(std::string_view body, const std::optional<std::string>& text) {
  if (!text && is_image_file(body)) {
    refuse(
        "body: is an image file; expected JSON. Send the header 'Inference-Header-Content-Length: 0' with "
        "the file, or the file as the BYTES input image");
  }
  if (!text) return body.size();
  const auto size = parse_number<uint64_t>(*text);
  if (!size || *size > body.size()) {
    refuse(
        "header Inference-Header-Content-Length: '{}'; expected the size of the JSON, at most the body's {} "
        "bytes",
        excerpt(*text), body.size());
  }
  return static_cast<size_t>(*size);
}

}  // namespace

std::vector<std::string_view> InputTensor::elements() const {
  if (!raw_texts.empty()) return raw_texts;
  return {texts.begin(), texts.end()};
}

InferRequest parse_infer_request(std::string_view body, const std::optional<std::string>& json_length,
                                 size_t max_values) {
  const size_t size = json_size(body, json_length);
  if (json_length && size == 0) return image_request(body);
  RequestReader reader(max_values);
  Json::sax_parse(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(size), &reader);
  if (!reader.root.is_object()) refuse("body: {}; expected a JSON object", kind_of(reader.root));
  InferRequest request;
  if (reader.root.contains("id")) request.id = text_of(reader.root, "id", "body");
  request.parameters = parameters_of(reader.root, "parameters");
  request.binary_outputs = boolean_parameter(request.parameters, "binary_data_output", "parameters");
  request.inputs = read_inputs(reader, body.substr(size));
  request.outputs = read_outputs(reader.root, request.binary_outputs);
  return request;
}

}  // namespace lasnet::serve
