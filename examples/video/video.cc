// Classifies the frames of a stream where the camera wrote them: video MODEL WIDTH HEIGHT < raw BGR frames
//
// The frame buffer has padded rows, as cameras' have. Neither the frame nor the network's input is copied:
// preprocess() reads the camera's bytes and writes floats into memory of ours, which the session reads.
#include <lasnet/engine.h>
#include <lasnet/image.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

namespace {

/// A driver's buffer: BGR rows that begin at multiples of 64 bytes.
class Camera {
 public:
  Camera(int width, int height)
      : width_(width),
        height_(height),
        stride_((3 * int64_t{width} + 63) / 64 * 64),
        buffer_(stride_ * height) {}

  /// False at the end of the stream.
  bool next_frame() {
    for (int y = 0; y < height_; ++y) {
      size_t row = size_t{3} * width_;
      if (std::fread(buffer_.data() + y * stride_, 1, row, stdin) != row) return false;
    }
    return true;
  }

  lasnet::ImageView frame() const {
    return {.data = buffer_.data(),
            .width = width_,
            .height = height_,
            .format = lasnet::PixelFormat::bgr,
            .stride = stride_};
  }

 private:
  int width_, height_;
  int64_t stride_;
  std::vector<uint8_t> buffer_;
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "usage: video MODEL WIDTH HEIGHT < frames\n"), 2;
  const lasnet::Model model = lasnet::load_model(argv[1]);
  lasnet::Session session(model);
  const int width = std::atoi(argv[2]), height = std::atoi(argv[3]);
  if (width < 1 || height < 1) return std::fprintf(stderr, "WIDTH and HEIGHT: expected pixels\n"), 2;
  Camera camera(width, height);

  const lasnet::ImageView frame = camera.frame();
  const lasnet::MapSize size = lasnet::preprocessed_size({frame.height, frame.width}, model.preprocessing);
  std::vector<float> input(3 * size.pixels());
  const lasnet::TensorView view{{1, 3, size.height, size.width}, input};
  for (int i = 0; camera.next_frame(); ++i) {
    lasnet::preprocess(frame, model.preprocessing, input);
    const lasnet::Result result = session.run(view, {.record_masks = false});
    auto best = std::max_element(result.logits.data.begin(), result.logits.data.end());
    size_t index = best - result.logits.data.begin();
    std::string name = model.class_names.empty() ? std::to_string(index) : model.class_names[index];
    std::printf("frame %d: %s, from %.1f %% of the MACs\n", i, name.c_str(), 100 * result.trace.macs_ratio());
  }
} catch (const std::exception& error) {  // lasnet::Error is one
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
