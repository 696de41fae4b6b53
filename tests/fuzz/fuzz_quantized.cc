// A quantized model file with any of its bytes changed either loads, and then makes an int8 network, or
// throws Error. Five bytes of input are one change: where, and the new value.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/file.h"
#include "engine/int8_network.h"
#include "formats/metadata.h"
#include "formats/quantization.h"
#include "formats/safetensors.h"
#include "lasnet/error.h"
#include "lasnet/quantize.h"

namespace {

/// A small quantized network as a file has it.
std::string valid_file() {
  lasnet::Model model;
  model.spec =
      lasnet::make_spec({.name = "resnet18", .width = 0.125, .classes = 2, .granularity = {4, 4, 2, 1}});
  model.weights = lasnet::random_weights(model.spec, 1);
  const lasnet::CalibrationImages images{.count = 1, .read = [](int64_t) {
                                           return lasnet::Tensor({1, 3, 32, 32}, 1.0f);
                                         }};
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("fuzz_quantized." + std::to_string(getpid()));
  lasnet::save_model(lasnet::quantize(model, images), path.string());
  std::ifstream file(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::filesystem::remove(path);
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string valid = valid_file();
  constexpr size_t kChange = 5;
  std::string bytes = valid;
  for (; size >= kChange; data += kChange, size -= kChange) {
    uint32_t where = 0;
    std::memcpy(&where, data, sizeof where);
    // Half of the changes are in the header, which is a small part of the file.
    const size_t range = (where & 1) != 0 ? bytes.size() : bytes.size() / 16;
    bytes[(where >> 1) % range] = static_cast<char>(data[kChange - 1]);
  }
  try {
    lasnet::SafetensorsFile file(
        lasnet::ByteSource::memory({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "fuzz"));
    if (!file.metadata()) return 0;
    lasnet::Model model = lasnet::parse_metadata(*file.metadata(), "fuzz");
    if (!model.quantization || lasnet::required_tensors(model.spec).size() > 1000) return 0;
    model.weights = lasnet::read_quantized(file, model.spec, {}, *model.quantization);
    if (lasnet::make_int8_network(model).blocks.size() != model.spec.blocks.size()) std::abort();
  } catch (const lasnet::Error&) {
  }
  return 0;
}
