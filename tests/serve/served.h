// Models and photographs for tests of the server.
#pragma once

#include <string>
#include <vector>

#include "lasnet/image.h"
#include "served_model.h"
#include "support/random_model.h"

namespace lasnet::serve {

/// A small dynamic network of ten classes for 64 px, with two operating points.
inline Model small_model(uint64_t seed = 1) {
  Model model = test::random_model(test::narrow_arch("resnet18", "4-4-2-1"), seed);
  for (int i = 0; i < 10; ++i) model.class_names.push_back("class \"" + std::to_string(i) + "\"");
  model.preprocessing.resize = 72;
  model.preprocessing.crop = 64;
  const size_t blocks = model.spec.blocks.size();
  model.operating_points = {
      {0.3, 0.5, std::vector<float>(blocks, 0.5f), std::vector<double>(blocks, 0.2), {}},
      {0.7, 0.8, std::vector<float>(blocks, -0.5f), std::vector<double>(blocks, 0.8), {}}};
  return model;
}

/// A photograph of noise.
inline Image noise_photo(int width, int height, uint64_t seed) {
  Random random(seed);
  Image image{width, height, {}};
  image.rgb.resize(static_cast<size_t>(3 * width * height));
  for (uint8_t& value : image.rgb) value = static_cast<uint8_t>(random.below(256));
  return image;
}

inline std::string png_of(const Image& image) {
  const std::vector<uint8_t> bytes = encode_png(image);
  return {bytes.begin(), bytes.end()};
}

/// A body of JSON and one binary tensor.
struct BinaryBody {
  std::string text;
  size_t json_size = 0;
};
inline BinaryBody binary_body(const Json& rest, Json input, const std::string& bytes) {
  input["parameters"]["binary_data_size"] = bytes.size();
  Json json = rest;
  json["inputs"] = Json::array({input});
  const std::string text = json.dump();
  return {text + bytes, text.size()};
}
inline BinaryBody tensor_body(const Tensor& tensor, const Json& rest = Json::object()) {
  const std::string bytes(reinterpret_cast<const char*>(tensor.data.data()),
                          tensor.data.size() * sizeof(float));
  return binary_body(rest, {{"name", "input"}, {"datatype", "FP32"}, {"shape", tensor.shape}}, bytes);
}
inline BinaryBody image_body(const std::vector<std::string>& files, const Json& rest = Json::object()) {
  std::string bytes;
  for (const std::string& file : files) {
    const auto length = static_cast<uint32_t>(file.size());
    bytes.append(reinterpret_cast<const char*>(&length), sizeof(length));
    bytes += file;
  }
  return binary_body(rest, {{"name", "image"}, {"datatype", "BYTES"}, {"shape", {files.size()}}}, bytes);
}

}  // namespace lasnet::serve
