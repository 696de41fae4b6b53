// Plays a camera: writes a photograph to standard output as raw BGR frames. write_frames PHOTO FRAMES
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "lasnet/image.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  lasnet::Image photo = lasnet::load_image(argv[1]);
  for (size_t i = 0; i < photo.rgb.size(); i += 3) std::swap(photo.rgb[i], photo.rgb[i + 2]);
  for (int frame = 0; frame < std::atoi(argv[2]); ++frame) {
    if (std::fwrite(photo.rgb.data(), 1, photo.rgb.size(), stdout) != photo.rgb.size()) return 1;
  }
}
