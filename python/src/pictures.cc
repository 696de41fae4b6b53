// Heat maps and mask sheets of the traces that Python has.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "arguments.h"
#include "bindings.h"
#include "images.h"
#include "lasnet/error.h"
#include "lasnet/report.h"

namespace lasnet::python {
namespace {

/// What pictures show of a lasnet.BlockTrace.
BlockTrace to_block(nb::handle given) {
  BlockTrace block;
  block.name = nb::cast<std::string>(given.attr("name"));
  block.granularity = from_python_granularity(given.attr("granularity"));
  block.height = nb::cast<int64_t>(given.attr("height"));
  block.width = nb::cast<int64_t>(given.attr("width"));
  block.rates = nb::cast<std::vector<double>>(given.attr("rates").attr("tolist")());
  block.rate = nb::cast<double>(given.attr("rate"));
  const nb::object mask = given.attr("mask");
  if (mask.is_none()) return block;
  const ContiguousArray<uint8_t> values(
      to_array(mask, nb::dtype<uint8_t>(), "trace: mask of " + block.name, "uint8 [N, H', W']"));
  block.mask = ByteTensor(values.shape());
  std::copy_n(values.data(), block.mask.size(), block.mask.data.data());
  return block;
}

/// What pictures show of a lasnet.Trace.
Trace to_trace(nb::handle given) {
  Trace trace;
  for (const nb::handle block : given.attr("blocks")) trace.blocks.push_back(to_block(block));
  trace.macs = nb::cast<double>(given.attr("macs"));
  trace.static_macs = nb::cast<int64_t>(given.attr("static_macs"));
  trace.image_macs = nb::cast<std::vector<double>>(given.attr("image_macs").attr("tolist")());
  return trace;
}

/// The part of the photograph that the network saw: all of one that has the input's size, else what
/// preprocessing keeps of it. Throws Error on any other.
Image seen_part(const ImageView& photo, const Preprocessing& preprocessing, MapSize input) {
  if (MapSize{photo.height, photo.width} == input) return to_image(photo);
  const MapSize size = preprocessed_size({photo.height, photo.width}, preprocessing);
  if (!(size == input)) {
    throw Error("image: of " + std::to_string(photo.height) + " x " + std::to_string(photo.width) +
                " px the network would see " + std::to_string(size.height) + " x " +
                std::to_string(size.width) + "; the trace is of " + std::to_string(input.height) + " x " +
                std::to_string(input.width) +
                "; give the photograph that was run, or what the network saw of it");
  }
  return visible_part(photo, preprocessing);
}

using Draw = Image (*)(const Image&, const Trace&, const PictureOptions&);

nb::object draw(Draw picture, nb::handle image, nb::handle trace_object, int64_t index,
                const std::string& title, std::tuple<int64_t, int64_t> input_size,
                const PreprocessingTuple& given) {
  ImageSource source(image, "image", {});
  const Trace trace = to_trace(trace_object);
  const MapSize input{std::get<0>(input_size), std::get<1>(input_size)};
  Image drawn;
  {
    const nb::gil_scoped_release released;
    std::vector<std::string> warnings;  // preprocessing told them
    const Image photo = seen_part(source.decode(warnings), to_preprocessing(given), input);
    drawn = picture(photo, trace, {.index = index, .input = input, .title = title});
  }
  return to_numpy(std::move(drawn));
}

nb::object draw_heat_map(nb::handle image, nb::handle trace, int64_t index, const std::string& title,
                         std::tuple<int64_t, int64_t> input_size, const PreprocessingTuple& preprocessing) {
  return draw(&heat_map, image, trace, index, title, input_size, preprocessing);
}

nb::object draw_mask_sheet(nb::handle image, nb::handle trace, int64_t index, const std::string& title,
                           std::tuple<int64_t, int64_t> input_size, const PreprocessingTuple& preprocessing) {
  return draw(&mask_sheet, image, trace, index, title, input_size, preprocessing);
}

}  // namespace

void bind_pictures(nb::module_& module) {
  module.def("heat_map", &draw_heat_map);
  module.def("mask_sheet", &draw_mask_sheet);
}

}  // namespace lasnet::python
