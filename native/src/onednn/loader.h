// SPDX-License-Identifier: Apache-2.0
//
// Opens libsounder_onednn.so, which lies beside the object that this code is in.
#pragma once

#include <string>

#include "onednn.h"

namespace sounder {

// nullptr when it cannot be used; then *reason says why in a few words. Looked for once in a process,
// except that SOUNDER_ONEDNN=off is obeyed at every call.
const OnednnPlugin *find_onednn(std::string *reason);

}  // namespace sounder
