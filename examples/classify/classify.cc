// Classifies a photograph: classify MODEL PHOTO
#include <lasnet/engine.h>
#include <lasnet/image.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: classify MODEL PHOTO\n"), 2;
  lasnet::Model model = lasnet::load_model(argv[1]);
  lasnet::Session session(model, {.threads = 2});
  lasnet::Image photo = lasnet::resize_and_crop(lasnet::load_image(argv[2]), model.preprocessing);
  lasnet::Result result = session.run(lasnet::to_input(photo, model.preprocessing));
  auto best = std::max_element(result.logits.data.begin(), result.logits.data.end());
  size_t index = best - result.logits.data.begin();
  std::string name = model.class_names.empty() ? std::to_string(index) : model.class_names[index];
  std::printf("%s, from %.1f %% of the MACs\n", name.c_str(), 100 * result.trace.macs_ratio());
} catch (const std::exception& error) {  // lasnet::Error is one
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
