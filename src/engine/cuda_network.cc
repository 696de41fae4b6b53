#include "engine/cuda_network.h"

#include <algorithm>

#include "kernels/tap_offsets.h"
#include "mask/expected_dilation.h"

namespace lasnet {
namespace {

using cuda::DeviceList;
using cuda::DeviceMap;
using cuda::Epilogue;
using cuda::ListKind;

MapSize size_of(const DeviceMap& map) { return {map.height, map.width}; }

/// The block's output pixels as a list to themselves: the outputs of the second convolution's list, unless
/// that holds more than the mask says.
DeviceList result_list(const CudaLists& lists, const BlockSpec& spec) {
  if (spec.pools_densely()) return lists.result;
  return {lists.second.out, lists.second.out, lists.second.image_begin};
}

/// The lists of a block in one call; those that its operators do not read are left out.
cuda::ListCall list_call(const CudaBlockMemory& block, const CudaLists& lists, const BlockSpec& spec) {
  cuda::ListCall call;
  call.geometry = block.geometry;
  auto add = [&](cuda::ListTarget target) { call.targets[call.count++] = target; };
  add({.kind = ListKind::dilated,
       .list = lists.first,
       .progress = lists.first_progress,
       .mask_counts = block.dilated_counts});
  add({.kind = ListKind::active,
       .list = lists.second,
       .progress = lists.second_progress,
       .mask_counts = block.active_counts});
  if (spec.pools_densely())
    add({.kind = ListKind::result, .list = lists.result, .progress = lists.result_progress});
  if (spec.projection) add({.kind = ListKind::projected, .list = lists.projected});
  return call;
}

/// For the next block's masker.
cuda::ListTarget changed_patches(const CudaLists& lists) {
  return {.kind = ListKind::patches, .list = lists.patches, .progress = lists.patches_progress};
}

}  // namespace

int64_t CudaNetwork::middle_pixels(size_t index) const {
  const cuda::ListGeometry& g = memory_.blocks[index].geometry;
  return int64_t{g.images} * g.middle_height * g.middle_width;
}

int64_t CudaNetwork::output_pixels(size_t index) const {
  const cuda::ListGeometry& g = memory_.blocks[index].geometry;
  return int64_t{g.images} * g.output_height * g.output_width;
}

void CudaNetwork::build_full_lists() {
  for (size_t i = 0; i < memory_.blocks.size(); ++i) {
    CudaBlockMemory block = memory_.blocks[i];
    block.dilated_counts = block.active_counts = nullptr;
    BlockSpec spec = executable_.spec().blocks[i];
    // Blocks of equal maps share their lists, whichever of them has a projection.
    if (!spec.projection) spec.projection = ConvSpec{};
    cuda::build_lists(stream_, list_call(block, block.everything, spec));
  }
}

void CudaNetwork::launch(const CudaLaunch& launch) {
  launch_ = launch;
  checked_.clear();
  if (launch_.check_finite) {
    stream_.fill(memory_.not_finite, 0xff, memory_.checked_layers * static_cast<int64_t>(sizeof(uint64_t)));
  }
  run_stem();
  size_t blocks = memory_.blocks.size();
  for (size_t i = 0; i <= blocks; ++i) {
    if (launch_.before_block) launch_.before_block(i);
    if (i < blocks) run_block(i);
  }
  run_head();
}

void CudaNetwork::check(const CudaCheckedLayer& layer, Precision precision, int64_t max_pixels,
                        cuda::FiniteCall call) {
  if (!launch_.check_finite) return;
  call.channels = layer.channels;
  call.first = memory_.not_finite + checked_.size();
  cuda::find_not_finite(stream_, precision, max_pixels, call);
  checked_.push_back(layer);
}

cuda::ConvCall CudaNetwork::conv_call(const Layer& layer) const {
  const CudaConv& conv = layer.conv;
  const CudaWeights& weights = executable_.weights();
  cuda::ConvCall call;
  call.in = layer.in.data;
  call.out = layer.out.data;
  call.bias = weights.floats(conv.bias);
  call.in_pixels = layer.list.in;
  call.out_pixels = layer.list.out;
  call.count = layer.list.image_begin + memory_.images;
  call.max_pixels = layer.max_pixels;
  call.in_pitch = layer.in.pitch;
  call.out_pitch = layer.out.pitch;
  call.out_channels = cuda::padded_channels(conv.spec.out_channels);
  call.taps = conv.taps;
  call.run = conv.run;
  std::vector<int64_t> offsets =
      tap_offsets(conv.spec.kernel, layer.in.width + 2, layer.in.pitch, conv.merge_rows);
  std::copy(offsets.begin(), offsets.end(), call.tap_offsets);
  call.group_in = conv.group_in;
  call.group_out = conv.group_out;
  call.epilogue = layer.epilogue;
  return call;
}

void CudaNetwork::run_conv(const Layer& layer, cuda::ConvCall call) {
  const CudaTileCosts& costs = executable_.target().tiles;
  CudaConvWork work = of_layer(executable_.conv_work(layer.conv, layer.epilogue == Epilogue::bias_add_relu),
                               static_cast<double>(layer.max_pixels), layer.rate, costs);
  CudaTile tile = choose_cuda_tile(work, costs);
  const CudaWeights& weights = executable_.weights();
  call.weights = weights.at(order_of(tile.shape) == AccumulationOrder::warpgroup ? layer.conv.hopper_weights
                                                                                 : layer.conv.weights);
  cuda::conv(stream_, layer.conv.precision, tile, call);
  check({layer.conv.spec.name, layer.conv.spec.out_channels, size_of(layer.out)}, layer.conv.precision,
        layer.max_pixels,
        {.data = call.out, .pitch = call.out_pitch, .pixels = call.out_pixels, .count = call.count});
}

void CudaNetwork::run_layer(const Layer& layer) { run_conv(layer, conv_call(layer)); }

void CudaNetwork::run_stem() {
  const ConvSpec& conv = executable_.stem().spec;
  const MapSize size = memory_.input_size;
  int border = conv.padding();
  cuda::image_to_map(stream_, executable_.precision(),
                     {.input = memory_.input,
                      .out = memory_.image,
                      .images = memory_.images,
                      .channels = conv.in_channels,
                      .height = static_cast<int>(size.height),
                      .width = static_cast<int>(size.width),
                      .border = border,
                      .row_pixels = memory_.image_row_pixels,
                      .pitch = memory_.image_pitch});
  // Offsets are those of a map whose border is the kernel's, not one pixel.
  DeviceMap image{memory_.image, memory_.image_pitch, static_cast<int>(size.height) + 2 * border - 2,
                  memory_.image_row_pixels - 2, conv.in_channels};
  run_layer({executable_.stem(), image, memory_.stem, memory_.stem_pixels,
             int64_t{memory_.images} * memory_.stem.height * memory_.stem.width, 1.0, Epilogue::bias_relu});
  if (executable_.spec().stem_pool) {
    cuda::max_pool(stream_, executable_.precision(), {memory_.stem, memory_.trunk, memory_.images});
  }
}

void CudaNetwork::run_block(size_t index) {
  const CudaBlockMemory& block = memory_.blocks[index];
  if (launch_.dense || !executable_.spec().blocks[index].is_dynamic())
    return run_body(index, block.everything, false, 0);
  auto call = [&](const std::function<void(size_t)>& hook) {
    if (hook) hook(index);
  };
  if (block.convs_beside > 0) {
    side_.wait_for(stream_);
    decide(index, side_);
    run_layer(first_layer(index, block.everything.first, 1.0));
    if (block.convs_beside > 1) {
      stream_.note_other();  // started early, it would take the masker's place on the device
      run_second(index, block.everything, false);
    }
    call(launch_.before_masking);
    stream_.wait_for(side_);
  } else {
    call(launch_.before_masking);
    decide(index, stream_);
  }
  call(launch_.after_masking);
  run_body(index, block.current, true, block.convs_beside);
}

CudaNetwork::Layer CudaNetwork::first_layer(size_t index, const DeviceList& list, double rate) const {
  const CudaBlockMemory& block = memory_.blocks[index];
  const CudaConv& conv = executable_.blocks()[index].convs[0];
  return {conv, block.x, block.inner[0], list, middle_pixels(index), rate, Epilogue::bias_relu};
}

void CudaNetwork::decide(size_t index, cuda::Stream& stream) {
  const CudaBlockMemory& block = memory_.blocks[index];
  const BlockSpec& spec = executable_.spec().blocks[index];
  run_masker(index, stream);
  cuda::ListCall lists = list_call(block, block.current, spec);
  lists.patches = block.patches;
  lists.targets[0].whole_from_patches =
      spec.pools_densely() ? 1 : whole_map_patches(block.plan.whole_map_above, block.geometry.patches());
  if (spec.pools_densely()) lists.targets[1].whole_from_patches = 1;
  if (block.masker.blocks > 1) lists.targets[lists.count++] = changed_patches(block.current);
  cuda::build_lists(stream, lists);
}

cuda::MaskerTarget CudaNetwork::masker_target(size_t index) const {
  const CudaBlockMemory& block = memory_.blocks[index];
  return {.weight = executable_.weights().floats(executable_.blocks()[index].masker_weight),
          .bias = executable_.blocks()[index].masker_bias,
          .forced = block.forced,
          .force = block.force,
          .differences = block.differences,
          .patches = block.patches};
}

void CudaNetwork::run_masker(size_t index, cuda::Stream& stream) {
  const CudaBlockMemory& block = memory_.blocks[index];
  const CudaMaskerRole& role = block.masker;
  if (role == CudaMaskerRole{}) {
    cuda::masker(stream, executable_.precision(), {block.geometry, block.x, masker_target(index)});
    return;
  }
  cuda::MaskerGroupCall call;
  call.geometry = block.geometry;
  call.x = block.x;
  for (; call.count < role.blocks; ++call.count)
    call.targets[call.count] = masker_target(index + static_cast<size_t>(call.count));
  if (role.refreshes) {
    const DeviceList& changed = memory_.blocks[index - 1].current.patches;
    call.listed = changed.in;
    call.listed_count = changed.image_begin + memory_.images;
  }
  cuda::masker_group(stream, executable_.precision(), call);
}

void CudaNetwork::run_body(size_t index, const CudaLists& lists, bool sparse, int done) {
  const CudaBlock& block = executable_.blocks()[index];
  const CudaBlockMemory& memory = memory_.blocks[index];
  const BlockPlan& plan = memory_.blocks[index].plan;
  if (done < 1) {
    const cuda::ListGeometry& g = memory.geometry;
    double rate = sparse ? expected_dilated_rate(kExpectedRate, g.granularity, g.dilation_stride) : 1.0;
    run_layer(first_layer(index, lists.first, rate));
  }
  if (block.convs.size() > 2 && done < 2) run_second(index, lists, sparse);
  if (block.squeeze_excite) squeeze_excite(index, lists);
  if (block.projection) {
    // Inactive pixels end here; active ones wait for the body.
    Epilogue epilogue =
        sparse && plan.scatter == ScatterSchedule::separate ? Epilogue::bias : Epilogue::projection;
    run_layer({*block.projection, memory.x, memory.y, lists.projected, output_pixels(index), 1.0, epilogue});
  }
  run_last(index, lists, sparse);
}

CudaNetwork::Layer CudaNetwork::windowed_layer(size_t index, size_t conv, const CudaLists& lists,
                                               bool sparse) {
  const CudaBlockMemory& memory = memory_.blocks[index];
  const BlockPlan& plan = memory_.blocks[index].plan;
  bool is_last = conv + 1 == executable_.blocks()[index].convs.size();
  Layer layer{executable_.blocks()[index].convs[conv],
              memory.inner[0],
              is_last ? memory.y : memory.inner[1],
              lists.second,
              output_pixels(index),
              sparse ? kExpectedRate : 1.0,
              Epilogue::bias_relu};
  if (!sparse || plan.gather == GatherSchedule::indirect) return layer;
  cuda::gather_patches(stream_, executable_.precision(),
                       {memory.geometry, memory.inner[0], memory.patches, memory.gathered});
  cuda::gathered_pixels(stream_, memory.geometry, lists.second, memory.gathered_pixels);
  int side = cuda::gather_side(memory.geometry);
  layer.in.data = memory.gathered;
  layer.in.height = layer.in.width = side - 2;
  layer.list.in = memory.gathered_pixels;
  return layer;
}

void CudaNetwork::run_second(size_t index, const CudaLists& lists, bool sparse) {
  run_layer(windowed_layer(index, 1, lists, sparse));
}

void CudaNetwork::run_last(size_t index, const CudaLists& lists, bool sparse) {
  const CudaBlock& block = executable_.blocks()[index];
  const CudaBlockMemory& memory = memory_.blocks[index];
  const BlockPlan& plan = memory_.blocks[index].plan;
  const bool scatters = sparse && plan.scatter == ScatterSchedule::separate;
  if (scatters) stream_.fill(memory.body, 0, bordered_bytes(memory.y));
  Layer layer = block.convs.size() > 2 ? Layer{block.convs[2],
                                               memory.inner[1],
                                               memory.y,
                                               result_list(lists, executable_.spec().blocks[index]),
                                               output_pixels(index),
                                               sparse ? kExpectedRate : 1.0,
                                               Epilogue::bias_add_relu}
                                       : windowed_layer(index, 1, lists, sparse);
  layer.epilogue = Epilogue::bias_add_relu;
  if (!scatters) return run_layer(layer);
  layer.out.data = memory.body;
  layer.epilogue = Epilogue::bias;
  run_layer(layer);
  cuda::add_relu(stream_, executable_.precision(), {memory.y, memory.body, memory_.images});
}

int64_t CudaNetwork::bordered_bytes(const DeviceMap& map) const {
  return int64_t{memory_.images} * (map.height + 2) * (map.width + 2) * map.pitch *
         cuda::element_bytes(executable_.precision());
}

void CudaNetwork::squeeze_excite(size_t index, const CudaLists& lists) {
  const CudaBlockMemory& memory = memory_.blocks[index];
  const CudaSqueezeExcite& layers = *executable_.blocks()[index].squeeze_excite;
  const CudaWeights& weights = executable_.weights();
  const DeviceMap& map = memory.inner[1];
  // The second convolution's list: with a dense pool every pixel of the images that compute something.
  cuda::mean(stream_, executable_.precision(), {map, lists.second, memory_.images, memory.pooled});
  cuda::excite(stream_, {.pooled = memory.pooled,
                         .weight1 = weights.floats(layers.weight1),
                         .bias1 = weights.floats(layers.bias1),
                         .weight2 = weights.floats(layers.weight2),
                         .bias2 = weights.floats(layers.bias2),
                         .scale = memory.scale,
                         .images = memory_.images,
                         .channels = layers.spec.channels,
                         .squeezed = layers.spec.squeeze_channels,
                         .pitch = map.pitch});
  check({layers.spec.name, layers.spec.channels, {}}, Precision::fp32, memory_.images,
        {.data = memory.scale, .pitch = map.pitch, .count = memory_.image_count});
  cuda::scale_pixels(
      stream_, executable_.precision(),
      {map, result_list(lists, executable_.spec().blocks[index]), memory_.images, memory.scale});
}

void CudaNetwork::run_head() {
  const CudaBlockMemory& last = memory_.blocks.back();
  // Every output pixel, as the last block's second convolution would list them.
  cuda::mean(stream_, executable_.precision(),
             {last.y, last.everything.second, memory_.images, memory_.features});
  const CudaHead& head = executable_.head();
  const ModelSpec& spec = executable_.spec();
  cuda::head(stream_, {.features = memory_.features,
                       .weight = executable_.weights().floats(head.weight),
                       .bias = executable_.weights().floats(head.bias),
                       .logits = memory_.logits,
                       .images = memory_.images,
                       .classes = spec.arch.classes,
                       .pitch = head.pitch,
                       .logits_pitch = memory_.logits_pitch});
  check({spec.head_name, spec.arch.classes, {}}, Precision::fp32, memory_.images,
        {.data = memory_.logits, .pitch = memory_.logits_pitch, .count = memory_.image_count});
}

}  // namespace lasnet
