// Ctrl-C and SIGTERM: a run ends after the round under way, with its log in order.
#pragma once

namespace ivory {

/// The first such signal becomes a wish that `interrupted` tells; a second one ends the program at once.
void catch_interrupts();
/// The signal's number, 0 while there was none.
int interrupted();

}  // namespace ivory
