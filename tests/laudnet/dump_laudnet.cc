// dump_laudnet DIR: writes the weights, the input and the granularities of the fixtures for make_fixtures.py.
#include <iostream>

#include "formats/npy.h"
#include "formats/safetensors.h"
#include "laudnet/networks.h"

int main(int argc, char** argv) {
  using namespace lasnet;
  if (argc != 2) {
    std::cerr << "usage: dump_laudnet DIR\n";
    return 2;
  }
  const std::string dir = argv[1];
  for (const test::LaudnetCase& c : test::kLaudnetCases) {
    write_safetensors({test::laudnet_weights(test::laudnet_model(c)),
                       {{"architecture", c.architecture}, {"granularity", c.granularity}}},
                      dir + "/" + c.name + ".safetensors", DType::f32);
  }
  save_npy(test::laudnet_input(), dir + "/x.npy");
}
