// Ctrl-C, SIGTERM and the end of the terminal.
#pragma once

namespace lasnet::cli {

/// The first of them asks training to stop at the next step; the second, with the default action back, kills.
/// The end of a terminal counts unless it is ignored (nohup).
void install_interrupt_handler();
bool was_interrupted();

}  // namespace lasnet::cli
