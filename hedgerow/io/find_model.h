// SPDX-License-Identifier: Apache-2.0
// Where models known by name are looked for.
#pragma once

#include <string>

namespace hedgerow {

// A path as it is, or the folder of a model of this name: in $HEDGEROW_MODELS, in share/hedgerow/models of
// where this runs from, in the source tree. Error naming the places.
std::string find_model(const std::string& name_or_path);

}  // namespace hedgerow
