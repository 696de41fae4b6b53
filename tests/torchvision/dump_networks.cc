// dump_networks DIR: writes the weights and inputs of the fixtures for make_fixtures.py.
#include <iostream>

#include "formats/npy.h"
#include "torchvision/networks.h"

namespace {

using namespace lasnet;

void dump(const std::string& name, const std::string& dir) {
  save_model(test::torchvision_model(name), dir + "/" + name + ".safetensors");
  for (MapSize size : test::kTorchvisionSizes) {
    save_npy(test::torchvision_input(size), dir + "/" + test::torchvision_case(name, size) + "_x.npy");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: dump_networks DIR\n";
    return 2;
  }
  for (const char* name : test::kTorchvisionNetworks) dump(name, argv[1]);
  dump(test::kDilatedNetwork, argv[1]);
}
