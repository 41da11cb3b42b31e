// SPDX-License-Identifier: Apache-2.0
// Device properties and tensor maps. The driver's encoder is found at run time, so that the program starts
// where no driver is.
#include <vector>

#include "hedgerow/kernels/cuda/launch.h"

namespace hedgerow::cuda {

const Device& device() {
  static const std::vector<Device> all = [] {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
    std::vector<Device> found(static_cast<size_t>(count));
    for (int id = 0; id < count; ++id) {
      Device& d = found[static_cast<size_t>(id)];
      cudaDeviceGetAttribute(&d.major, cudaDevAttrComputeCapabilityMajor, id);
      cudaDeviceGetAttribute(&d.multiprocessors, cudaDevAttrMultiProcessorCount, id);
    }
    return found;
  }();
  static const Device none;
  int id = 0;
  if (all.empty() || cudaGetDevice(&id) != cudaSuccess) return none;
  return all[static_cast<size_t>(id)];
}

namespace {

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                            CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

Encode encoder() {
  static const Encode found = [] {
    void* p = nullptr;
    cudaDriverEntryPointQueryResult result;
    const cudaError_t e =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &p, 12000, cudaEnableDefault, &result);
    return e == cudaSuccess && result == cudaDriverEntryPointSuccess ? reinterpret_cast<Encode>(p) : nullptr;
  }();
  return found;
}

bool encode(CUtensorMap& map, Dtype dtype, int rank, const void* data, const cuuint64_t* extents,
            const cuuint64_t* strides, const cuuint32_t* box, int box_bytes) {
  const cuuint32_t steps[3] = {1, 1, 1};
  for (int i = 0; i + 1 < rank; ++i) {
    if (strides[i] % 16 != 0 || strides[i] == 0) return false;
  }
  if (reinterpret_cast<uintptr_t>(data) % 16 != 0 || !encoder()) return false;
  const auto type = dtype == Dtype::f32    ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
                    : dtype == Dtype::f16  ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                    : dtype == Dtype::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                           : CU_TENSOR_MAP_DATA_TYPE_UINT8;
  return encoder()(&map, type, rank, const_cast<void*>(data), extents, strides, box, steps,
                   CU_TENSOR_MAP_INTERLEAVE_NONE,
                   box_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B : CU_TENSOR_MAP_SWIZZLE_128B,
                   CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace

bool matrix_map(CUtensorMap& map, Dtype dtype, const void* data, int64_t rows, int64_t cols,
                int64_t row_stride, int box_rows, int box_bytes) {
  const cuuint64_t extents[2] = {static_cast<cuuint64_t>(cols), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(row_stride) * bytes_of(dtype)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(box_bytes / bytes_of(dtype)),
                             static_cast<cuuint32_t>(box_rows)};
  return encode(map, dtype, 2, data, extents, strides, box, box_bytes);
}

bool heads_map(CUtensorMap& map, const Tensor& t, int64_t heads, int box_rows) {
  const cuuint64_t extents[3] = {64, static_cast<cuuint64_t>(heads), static_cast<cuuint64_t>(t.extents[0])};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(t.strides[1]) * 2,
                                 static_cast<cuuint64_t>(t.strides[0]) * 2};
  const cuuint32_t box[3] = {64, 1, static_cast<cuuint32_t>(box_rows)};
  return encode(map, t.dtype, 3, t.data, extents, strides, box, 128);
}

}  // namespace hedgerow::cuda
