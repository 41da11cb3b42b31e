// SPDX-License-Identifier: Apache-2.0
// Every CUDA op against its definition in double. Returns 77, which ctest shows as skipped, where no GPU is.
//   cuda_test [PART...]
#include "hedgerow/core/error.h"
#include "tests/cuda/twin.h"

int main(int argc, char** argv) {
  using namespace hedgerow::cuda::test;
  std::setvbuf(stdout, nullptr, _IOLBF, 1 << 12);  // what failed is told even if a later kernel never ends
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    std::printf("SKIPPED: no CUDA device here\n");
    return 77;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const struct {
    const char* name;
    void (*run)();
  } parts[] = {{"attention", test_attention},
               {"linear", test_linear},
               {"linear_small", test_linear_small},
               {"mlp", test_mlp},
               {"linear_e4m3", test_linear_e4m3},
               {"linear_i8", test_linear_i8},
               {"alike", test_alike},
               {"graph", test_graph},
               {"vit", test_vit},
               {"vit_graphs", test_vit_graphs}};
  for (const auto& part : parts) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i) wanted = wanted || !std::strcmp(argv[i], part.name);
    if (!wanted) continue;
    const Tally before = tally;
    try {
      part.run();
    } catch (const hedgerow::Error& e) {
      tally.check(false, std::string(part.name) + ": " + e.what());
    }
    std::printf("%-10s %5d checks, %d failed\n", part.name, tally.checks - before.checks,
                tally.failures - before.failures);
  }
  return tally.failures != 0;
}
