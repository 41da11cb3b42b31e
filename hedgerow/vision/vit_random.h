// SPDX-License-Identifier: Apache-2.0
// Models with random weights, for speed work and tests: the same numbers for the same text, on every machine.
#pragma once

#include <string>

#include "hedgerow/vision/vit.h"

namespace hedgerow {

// What follows "random:". Either deit-tiny, deit-small or deit-base, with "@384" for another image side and
// ":distilled"; or
// "dim=256,heads=4,layers=3,patch=8,image=64,classes=10,hidden=1024,distilled=0,predictors=0,seed=0", any of
// them. Both may be joined: "deit-small@384:distilled,predictors=1". Error naming the part that makes no
// sense.
VitParameters random_vit(const std::string& shape);

// Error, in one line, unless every number is in its bounds and they fit each other.
void check_config(const VitConfig& config, const std::string& where);

}  // namespace hedgerow
