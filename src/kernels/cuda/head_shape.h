// How the classifier is cut for the device: shared by its kernel and the latency model. Pure.
#pragma once

namespace lasnet::cuda {

/// A warp computes `classes` of `images`; a block's warps stand kHeadClassWarps x `image_warps`.
struct HeadShape {
  int least_images;  ///< of a batch, from which on it is used
  int classes, images, image_warps;
};
inline constexpr int kHeadClassWarps = 4;
/// The first one that the batch has images enough for is used.
inline constexpr HeadShape kHeadShapes[] = {{32, 4, 8, 4}, {8, 4, 8, 1}, {0, 1, 4, 1}};

/// Place in kHeadShapes of a batch's.
constexpr int head_shape_of(int images) {
  int i = 0;
  while (kHeadShapes[i].least_images > images) ++i;
  return i;
}

}  // namespace lasnet::cuda
