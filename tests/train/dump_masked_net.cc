// dump_masked_net DIR: writes the fixtures of tests/python/torch_module.
#include <iostream>

#include "train/torch_fixture.h"

int main(int argc, char** argv) {
  using namespace lasnet;
  if (argc != 2) {
    std::cerr << "usage: dump_masked_net DIR\n";
    return 2;
  }
  for (const test::TorchCase& c : test::torch_cases())
    write_safetensors(test::torch_fixture(c), std::string(argv[1]) + "/" + c.name + ".safetensors",
                      DType::f32);
}
