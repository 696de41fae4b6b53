// Lines of Python, for files that have to be written anew. Each starts from the file's path and runs as it is
// printed.
#pragma once

#include <string>

namespace lasnet {

/// How to save the weights of a checkpoint that holds more than plain data.
std::string save_weights_alone(const std::string& path);

/// How to save a checkpoint as today's torch.save writes it: not compressed, with checksums.
std::string save_checkpoint_again(const std::string& path);

/// How to save the weights of a TorchScript archive.
std::string save_script_weights(const std::string& path);

/// How to save what a pickle of Python's own holds.
std::string save_pickle_weights(const std::string& path);

}  // namespace lasnet
