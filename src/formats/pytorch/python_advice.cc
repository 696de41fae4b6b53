#include "formats/pytorch/python_advice.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/text.h"

namespace lasnet {
namespace {

/// The program's arguments are the file and a new one beside it.
std::string line(const char* program, const std::string& path) {
  std::filesystem::path from(path);
  if (from.is_relative() && path.starts_with('-')) from = "." / from;  // else an option
  std::filesystem::path to = from;
  to.replace_extension(".weights.pth");
  return fmt::format("python3 -c '{}' {} {}", program, shell_quoted(from.string()),
                     shell_quoted(to.string()));
}

}  // namespace

std::string save_weights_alone(const std::string& path) {
  // From a whole module, or from the usual keys of a training checkpoint; sparse and quantized ones dense.
  constexpr const char* kProgram =
      "import sys, torch; x = torch.load(sys.argv[1], map_location=\"cpu\", weights_only=False); "
      "x = next((x[k] for k in (\"state_dict\", \"model_state_dict\", \"model\") if k in x), x) "
      "if isinstance(x, dict) else x; "
      "x = x.state_dict() if hasattr(x, \"state_dict\") else x; "
      "torch.save({k: v.dequantize() if v.is_quantized else v.to_dense() if v.layout != torch.strided else "
      "v.detach().clone() for k, v in x.items() if torch.is_tensor(v)}, sys.argv[2])";
  return "If you trust the file, let Python save the weights alone:\n  " + line(kProgram, path);
}

std::string save_checkpoint_again(const std::string& path) {
  constexpr const char* kProgram =
      "import sys, torch; torch.save(torch.load(sys.argv[1], map_location=\"cpu\", weights_only=True), "
      "sys.argv[2])";
  return "save it again:\n  " + line(kProgram, path);
}

std::string save_script_weights(const std::string& path) {
  constexpr const char* kProgram =
      "import sys, torch; torch.save(torch.jit.load(sys.argv[1], map_location=\"cpu\").state_dict(), "
      "sys.argv[2])";
  return "If you trust the file, save its weights alone:\n  " + line(kProgram, path);
}

std::string save_pickle_weights(const std::string& path) {
  constexpr const char* kProgram =
      "import pickle, sys, torch; x = pickle.load(open(sys.argv[1], \"rb\")); "
      "torch.save({k: torch.as_tensor(v) for k, v in x.items()}, sys.argv[2])";
  return "If you trust the file and it holds weights by name, save them with torch.save:\n  " +
         line(kProgram, path);
}

}  // namespace lasnet
