// SPDX-License-Identifier: Apache-2.0
// The vendor's products as a yardstick, loaded at run time: nothing is measured where the library or, when
// this is built, its header is missing. It chooses its kernel itself (its first suggestion, 32 MiB of
// scratch).
#pragma once

#include "bench/cuda/timing.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#include <dlfcn.h>

namespace hedgerow::cuda::bench {

// out[rows, n] = act(x[rows, k] w[n, k]^T + bias) + residual of one 16-bit type, or x and w e4m3 and the rest
// f16; GELU is the tanh kind there.
class VendorLinear {
 public:
  VendorLinear(Dtype dtype, int rows, int n, int k, bool gelu, bool residual)
      : scratch_(device_buffer(kScratch)),
        bias_(random_halves(n, dtype == Dtype::bf16 ? dtype : Dtype::f16, 1, 4)),
        residual_(residual) {
    const cudaDataType_t rows_type = dtype == Dtype::bf16 ? CUDA_R_16BF : CUDA_R_16F;
    const cudaDataType_t type = dtype == Dtype::e4m3 ? CUDA_R_8F_E4M3 : rows_type;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cublasLtEpilogue_t epilogue = gelu ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
    const void* bias = bias_.as();
    ok_ = library().ok && library().desc(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
          set(CUBLASLT_MATMUL_DESC_TRANSA, transposed) && set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue) &&
          set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias) &&
          library().layout(&w_, type, k, n, k) == CUBLAS_STATUS_SUCCESS &&
          library().layout(&x_, type, k, rows, k) == CUBLAS_STATUS_SUCCESS &&
          library().layout(&out_, rows_type, n, rows, n) == CUBLAS_STATUS_SUCCESS;
    if (!ok_) return;
    cublasLtMatmulPreference_t wish;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    ok_ = library().wish(&wish) == CUBLAS_STATUS_SUCCESS &&
          library().wish_set(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kScratch, sizeof kScratch) ==
              CUBLAS_STATUS_SUCCESS &&
          library().suggest(library().handle, desc_, w_, x_, out_, out_, wish, 1, &found, &count) ==
              CUBLAS_STATUS_SUCCESS &&
          count > 0;
    algorithm_ = found.algo;
  }
  explicit operator bool() const { return ok_; }
  cudaError_t queue(cudaStream_t stream, const void* x, const void* w, const void* residual,
                    void* out) const {
    const float one = 1, beta = residual_ ? 1.0f : 0.0f;
    const cublasStatus_t s =
        library().run(library().handle, desc_, &one, w, w_, x, x_, &beta, residual_ ? residual : out, out_,
                      out, out_, &algorithm_, scratch_.as(), kScratch, stream);
    return s == CUBLAS_STATUS_SUCCESS ? cudaSuccess : cudaErrorUnknown;
  }

 private:
  static constexpr size_t kScratch = size_t{32} << 20;
  struct Library {
    decltype(&cublasLtCreate) create = nullptr;
    decltype(&cublasLtMatmulDescCreate) desc = nullptr;
    decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
    decltype(&cublasLtMatrixLayoutCreate) layout = nullptr;
    decltype(&cublasLtMatmulPreferenceCreate) wish = nullptr;
    decltype(&cublasLtMatmulPreferenceSetAttribute) wish_set = nullptr;
    decltype(&cublasLtMatmulAlgoGetHeuristic) suggest = nullptr;
    decltype(&cublasLtMatmul) run = nullptr;
    cublasLtHandle_t handle = nullptr;
    bool ok = false;
  };
  static const Library& library() {
    static const Library found = [] {
      Library l;
      void* at = nullptr;
      for (const char* name :
           {"libcublasLt.so.13", "/usr/local/cuda/lib64/libcublasLt.so.13", "libcublasLt.so"}) {
        if (!at) at = dlopen(name, RTLD_NOW);
      }
      if (!at) return l;
      const auto get = [&](auto& f, const char* name) {
        f = reinterpret_cast<std::remove_reference_t<decltype(f)>>(dlsym(at, name));
        return f != nullptr;
      };
      l.ok = get(l.create, "cublasLtCreate") && get(l.desc, "cublasLtMatmulDescCreate") &&
             get(l.desc_set, "cublasLtMatmulDescSetAttribute") &&
             get(l.layout, "cublasLtMatrixLayoutCreate") && get(l.wish, "cublasLtMatmulPreferenceCreate") &&
             get(l.wish_set, "cublasLtMatmulPreferenceSetAttribute") &&
             get(l.suggest, "cublasLtMatmulAlgoGetHeuristic") && get(l.run, "cublasLtMatmul") &&
             l.create(&l.handle) == CUBLAS_STATUS_SUCCESS;
      return l;
    }();
    return found;
  }
  template <class V>
  bool set(cublasLtMatmulDescAttributes_t which, const V& value) {
    return library().desc_set(desc_, which, &value, sizeof value) == CUBLAS_STATUS_SUCCESS;
  }

  Buffer scratch_, bias_;
  bool residual_, ok_ = false;
  cublasLtMatmulDesc_t desc_ = nullptr;  // a program's few layouts live as long as it does
  cublasLtMatrixLayout_t w_ = nullptr, x_ = nullptr, out_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_ = {};
};

}  // namespace hedgerow::cuda::bench

#else

namespace hedgerow::cuda::bench {

class VendorLinear {
 public:
  VendorLinear(Dtype, int, int, int, bool, bool) {}
  explicit operator bool() const { return false; }
  cudaError_t queue(cudaStream_t, const void*, const void*, const void*, void*) const { return cudaSuccess; }
};

}  // namespace hedgerow::cuda::bench

#endif
