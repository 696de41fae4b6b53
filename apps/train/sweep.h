// `lasnet sweep`: a grid of trainings from one static network, and what they come to.
#pragma once

namespace lasnet::cli {

/// `arguments` begin with the program and "sweep". Returns the exit code.
int run_sweep(int count, char** arguments);

}  // namespace lasnet::cli
