#include "backends/cuda/network.h"

#include <algorithm>

#include "mask/tap_offsets.h"

namespace lasnet {
namespace {

using cuda::Concurrency;
using cuda::ConvName;
using cuda::DeviceList;
using cuda::DeviceMap;
using cuda::ListKind;
using cuda::MapName;
using cuda::Operation;
using cuda::OperationKind;

MapSize size_of(const DeviceMap& map) { return {map.height, map.width}; }

}  // namespace

void CudaNetwork::build_full_lists() {
  for (size_t i = 0; i < layout_.blocks.size(); ++i) {
    const CudaBlockMemory& block = layout_.blocks[i];
    cuda::ListCall call;
    call.geometry = block.geometry;
    // Blocks of equal maps share their lists, whichever of them has a projection.
    for (ListKind kind : {ListKind::dilated, ListKind::active, ListKind::result, ListKind::projected}) {
      if (kind != ListKind::result || executable_.spec().blocks[i].pools_densely())
        call.targets[call.count++] = block.everything[kind];
    }
    cuda::build_lists(stream_, call);
  }
}

void CudaNetwork::launch(const CudaLaunch& launch) {
  launch_ = launch;
  checked_.clear();
  if (launch_.check_finite) {
    stream_.fill(layout_.not_finite, 0xff, layout_.checked_layers * static_cast<int64_t>(sizeof(uint64_t)));
  }
  const cuda::NetworkProgram& program = memory_.program(!launch_.mode.dense);
  const size_t blocks = program.blocks.size();
  run(program.stem, 0);
  for (size_t i = 0; i <= blocks; ++i) {
    return_map(i);
    if (launch_.before_block) launch_.before_block(i);
    if (i < blocks) run(program.blocks[i], i);
  }
  run(program.head, blocks - 1);
}

void CudaNetwork::return_map(size_t blocks) {
  const auto wanted = launch_.mode.features.find(blocks);
  if (wanted == launch_.mode.features.end()) return;
  const DeviceMap map = blocks < layout_.blocks.size() ? layout_.blocks[blocks].x : layout_.blocks.back().y;
  const bool planes = launch_.mode.feature_layout == MapLayout::nchw;
  cuda::copy_feature(stream_, executable_.precision(),
                     {.map = map,
                      .out = wanted->second,
                      .images = layout_.images,
                      .channel_step = planes ? size_of(map).pixels() : 1,
                      .pixel_step = planes ? 1 : map.channels});
}

void CudaNetwork::run(const cuda::BlockProgram& program, size_t index) {
  index_ = index;
  const auto call = [&](const std::function<void(size_t)>& hook) {
    if (hook) hook(index);
  };
  bool forked = false;
  for (const Operation& operation : program.operations) {
    const bool serial = operation.concurrency == Concurrency::serial;
    if (!forked && !serial) side_.wait_for(stream_);
    if (forked && serial) {
      call(launch_.before_masking);
      stream_.wait_for(side_);
      call(launch_.after_masking);
    }
    forked = !serial;
    if (!operation.starts_early) stream_.note_other();
    if (serial && operation.is_masker()) call(launch_.before_masking);
    run(operation, operation.concurrency == Concurrency::side ? side_ : stream_);
    if (serial && operation.kind == OperationKind::build_lists) call(launch_.after_masking);
  }
}

void CudaNetwork::run(const Operation& operation, cuda::Stream& stream) {
  const Precision precision = executable_.precision();
  const DeviceMap in = map_of(operation.in), out = map_of(operation.out);
  switch (operation.kind) {
    case OperationKind::image_to_map:
      return prepare_image();
    case OperationKind::conv:
      return run_conv(operation);
    case OperationKind::max_pool:
      return cuda::max_pool(stream, precision, {in, out, layout_.images});
    case OperationKind::masker:
      return cuda::masker(stream, precision, {block().geometry, in, masker_target(index_)});
    case OperationKind::masker_group:
      return run_masker_group(operation, stream);
    case OperationKind::build_lists:
      return build_lists(operation, stream);
    case OperationKind::fill:
      return stream.fill(out.data, 0, bordered_bytes(out));
    case OperationKind::gather_patches:
      return cuda::gather_patches(stream, precision, {block().geometry, in, block().patches, out.data});
    case OperationKind::gathered_pixels:
      return cuda::gathered_pixels(stream, block().geometry, list_of(operation.over),
                                   block().gathered_pixels);
    case OperationKind::mean:
      return cuda::mean(stream, precision,
                        {in, list_of(operation.over), layout_.images,
                         operation.in == MapName::output ? layout_.features : block().pooled});
    case OperationKind::excite:
      return excite();
    case OperationKind::scale_pixels:
      return cuda::scale_pixels(stream, precision,
                                {in, list_of(operation.over), layout_.images, block().scale});
    case OperationKind::add_relu:
      return cuda::add_relu(stream, precision, {out, in.data, layout_.images});
    case OperationKind::head:
      return run_head();
  }
}

void CudaNetwork::check(const CudaCheckedLayer& layer, Precision precision, int64_t max_pixels,
                        cuda::FiniteCall call) {
  if (!launch_.check_finite) return;
  call.channels = layer.channels;
  call.first = layout_.not_finite + checked_.size();
  cuda::find_not_finite(stream_, precision, max_pixels, call);
  checked_.push_back(layer);
}

const CudaConv& CudaNetwork::conv_of(ConvName role) const {
  const CudaBlock& compiled = executable_.blocks()[index_];
  if (role == ConvName::stem) return executable_.stem();
  return role == ConvName::projection ? *compiled.projection : compiled.convs[static_cast<size_t>(role)];
}

DeviceMap CudaNetwork::map_of(MapName role) const {
  switch (role) {
    case MapName::image: {
      // Offsets are those of a map whose border is the kernel's, not one pixel.
      const ConvSpec& conv = executable_.stem().spec;
      return {layout_.image, layout_.image_pitch,
              static_cast<int>(layout_.input_size.height) + 2 * conv.padding() - 2,
              layout_.image_row_pixels - 2, conv.in_channels};
    }
    case MapName::stem:
      return layout_.stem;
    case MapName::input:
      return block().x;
    case MapName::middle:
      return block().inner[0];
    case MapName::inner:
      return block().inner[1];
    case MapName::gathered: {
      DeviceMap map = block().inner[0];
      map.data = block().gathered;
      map.height = map.width = halo_side(block().geometry.granularity, block().geometry.dilation_stride) - 2;
      return map;
    }
    case MapName::body: {
      DeviceMap map = block().y;
      map.data = block().body;
      return map;
    }
    case MapName::output:
      return block().y;
  }
  return {};
}

DeviceList CudaNetwork::list_of(const cuda::PixelSet& over) const {
  return (over.everything ? block().everything : block().current)[over.list].list;
}

int64_t CudaNetwork::most_pixels(ListKind list) const {
  const cuda::ListGeometry& g = block().geometry;
  return int64_t{g.images} * cuda::domain_height(g, list) * cuda::domain_width(g, list);
}

void CudaNetwork::prepare_image() {
  const ConvSpec& conv = executable_.stem().spec;
  cuda::image_to_map(stream_, executable_.precision(),
                     {.input = layout_.input,
                      .out = layout_.image,
                      .images = layout_.images,
                      .channels = conv.in_channels,
                      .height = static_cast<int>(layout_.input_size.height),
                      .width = static_cast<int>(layout_.input_size.width),
                      .border = conv.padding(),
                      .row_pixels = layout_.image_row_pixels,
                      .pitch = layout_.image_pitch});
}

void CudaNetwork::run_conv(const Operation& operation) {
  const CudaConv& conv = conv_of(operation.conv);
  const CudaWeights& weights = executable_.weights();
  const bool is_stem = operation.conv == ConvName::stem;
  const DeviceMap in = map_of(operation.in), out = map_of(operation.out);
  DeviceList list = is_stem ? layout_.stem_pixels : list_of(operation.over);
  if (operation.in == MapName::gathered) list.in = block().gathered_pixels;
  cuda::ConvCall call;
  call.in = in.data;
  call.out = out.data;
  call.weights = weights.at(
      order_of(operation.tile.shape) == AccumulationOrder::warpgroup ? conv.hopper_weights : conv.weights);
  call.bias = weights.floats(conv.bias);
  call.in_pixels = list.in;
  call.out_pixels = list.out;
  call.count = list.image_begin + layout_.images;
  call.max_pixels =
      is_stem ? int64_t{layout_.images} * out.height * out.width : most_pixels(operation.over.list);
  call.in_pitch = in.pitch;
  call.out_pitch = out.pitch;
  call.out_channels = cuda::padded_channels(conv.spec.out_channels);
  call.taps = conv.taps;
  call.run = conv.run;
  const std::vector<int64_t> offsets = tap_offsets(conv.spec.kernel, in.width + 2, in.pitch, conv.merge_rows);
  std::copy(offsets.begin(), offsets.end(), call.tap_offsets);
  call.group_in = conv.group_in;
  call.group_out = conv.group_out;
  call.epilogue = operation.epilogue;
  cuda::conv(stream_, conv.precision, operation.tile, call);
  check({conv.spec.name, conv.spec.out_channels, size_of(out)}, conv.precision, call.max_pixels,
        {.data = call.out, .pitch = call.out_pitch, .pixels = call.out_pixels, .count = call.count});
}

cuda::MaskerTarget CudaNetwork::masker_target(size_t index) const {
  const CudaBlockMemory& block = layout_.blocks[index];
  return {.weight = executable_.weights().floats(executable_.blocks()[index].masker_weight),
          .bias = executable_.blocks()[index].masker_bias,
          .forced = block.forced,
          .rule = block.rule,
          .differences = block.differences,
          .patches = block.patches};
}

void CudaNetwork::run_masker_group(const Operation& operation, cuda::Stream& stream) {
  cuda::MaskerGroupCall call;
  call.geometry = block().geometry;
  call.x = block().x;
  for (; call.count < operation.masker.blocks; ++call.count)
    call.targets[call.count] = masker_target(index_ + static_cast<size_t>(call.count));
  if (operation.masker.refreshes) {
    const DeviceList& changed = layout_.blocks[index_ - 1].current[ListKind::patches].list;
    call.listed = changed.in;
    call.listed_count = changed.image_begin + layout_.images;
  }
  cuda::masker_group(stream, executable_.precision(), call);
}

void CudaNetwork::build_lists(const Operation& operation, cuda::Stream& stream) {
  cuda::ListCall call;
  call.geometry = block().geometry;
  call.patches = block().patches;
  for (const cuda::ListBuild& list : operation.lists) {
    cuda::ListTarget& target = call.targets[call.count++];
    target = block().current[list.kind];
    target.whole_from_patches = list.whole_from_patches;
  }
  cuda::build_lists(stream, call);
}

int64_t CudaNetwork::bordered_bytes(const DeviceMap& map) const {
  return int64_t{layout_.images} * (map.height + 2) * (map.width + 2) * map.pitch *
         cuda::element_bytes(executable_.precision());
}

void CudaNetwork::excite() {
  const CudaSqueezeExcite& layers = *executable_.blocks()[index_].squeeze_excite;
  const CudaWeights& weights = executable_.weights();
  const int pitch = block().inner[1].pitch;
  cuda::excite(stream_, {.pooled = block().pooled,
                         .weight1 = weights.floats(layers.weight1),
                         .bias1 = weights.floats(layers.bias1),
                         .weight2 = weights.floats(layers.weight2),
                         .bias2 = weights.floats(layers.bias2),
                         .scale = block().scale,
                         .images = layout_.images,
                         .channels = layers.spec.channels,
                         .squeezed = layers.spec.squeeze_channels,
                         .pitch = pitch});
  check({layers.spec.name, layers.spec.channels, {}}, Precision::fp32, layout_.images,
        {.data = block().scale, .pitch = pitch, .count = layout_.image_count});
}

void CudaNetwork::run_head() {
  const CudaHead& head = executable_.head();
  const ModelSpec& spec = executable_.spec();
  cuda::head(stream_, {.features = layout_.features,
                       .weight = executable_.weights().floats(head.weight),
                       .bias = executable_.weights().floats(head.bias),
                       .logits = layout_.logits,
                       .images = layout_.images,
                       .classes = spec.arch.classes,
                       .pitch = head.pitch,
                       .logits_pitch = layout_.logits_pitch});
  check({spec.head_name, spec.arch.classes, {}}, Precision::fp32, layout_.images,
        {.data = layout_.logits, .pitch = layout_.logits_pitch, .count = layout_.image_count});
}

}  // namespace lasnet
