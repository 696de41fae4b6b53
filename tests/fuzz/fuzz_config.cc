// Any text either is a training configuration, which is then either usable or refused, or throws Error.
#include "lasnet/error.h"
#include "train/config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const lasnet::TrainConfig config = lasnet::parse_train_config(text, "fuzz", {});
    lasnet::to_json(config);
    lasnet::check_train_config(config);
  } catch (const lasnet::Error&) {
  }
  return 0;
}
