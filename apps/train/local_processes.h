// `--nproc N`: the processes of a run on one machine, which this program starts and waits for.
#pragma once

namespace lasnet::cli {

/// Starts `count` copies of this program with its own arguments, as torchrun would. Signals that ask for an
/// end are passed on to them. Rank 0 writes to this program's outputs; what the others write is shown only if
/// rank 0 cannot say it. Returns the exit code of the run. Throws Error if a process cannot be started.
int run_local_processes(int count, char** argv);

}  // namespace lasnet::cli
