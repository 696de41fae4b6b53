// Masks without a trained masker: independent random patches at a rate, the rate that a MAC ratio needs, and
// as many patches as a masker chose, elsewhere.
#pragma once

#include <string>

#include "base/random.h"
#include "lasnet/engine.h"
#include "lasnet/geometry.h"

namespace lasnet::cli {

/// A mask for every dynamic block; each patch of each image is active by itself with probability `rate`.
MaskSet random_masks(const ModelSpec& spec, const NetworkGeometry& geometry, int64_t batch, double rate,
                     Random& random);

/// Where the patches of a mask are moved to.
enum class Placement {
  random,  ///< anywhere, every choice being equally likely
  centre,  ///< as near to the centre of the map as there is room
};

/// As many active patches in every dynamic block and image as the masks of `trace`, elsewhere.
MaskSet replaced_masks(const ModelSpec& spec, const NetworkGeometry& geometry, const Trace& trace,
                       Placement placement, Random& random);

/// Whose masks decide what is computed: the maskers', or what they are to be compared with.
enum class MaskSource {
  own,     ///< the maskers'
  random,  ///< as many patches, as Placement::random puts them
  centre,  ///< as many patches, as Placement::centre puts them
  full,    ///< none: the static network
};
/// Its name, as on command lines; parse_mask_source reads it and throws Error on any other text.
std::string to_string(MaskSource source);
MaskSource parse_mask_source(const std::string& text);

/// Runs the network with these masks.
Result run_with_masks(Session& session, const Tensor& input, MaskSource source, RunOptions options,
                      Random& random);

/// Multiply-accumulates of a run with these masks over the static network's, mean over the images: what
/// Trace::macs_ratio will say.
double macs_ratio(const ModelSpec& spec, const NetworkGeometry& geometry, const MaskSet& masks,
                  int64_t batch);

/// The patch rate at which random masks give the network this MAC ratio on average, the halo of the dilated
/// masks included. Throws Error, naming the range, if no rate does: stem, head, maskers and projections are
/// always computed.
double rate_for_macs(const ModelSpec& spec, const NetworkGeometry& geometry, double macs, uint64_t seed);

}  // namespace lasnet::cli
