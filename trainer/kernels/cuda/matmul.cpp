// Matrix products by cuBLASLt, which is loaded when the first is due: a program starts without it. Row-major matrices are given to
// it as the transposes that they are in its column-major eyes: c^T = right^T left^T.

#include "trainer/kernels/cuda/matmul.h"

#include <algorithm>
#include <array>
#include <bit>
#include <compare>
#include <cublasLt.h>
#include <dlfcn.h>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/expects.h"
#include "trainer/tensor/gpu_timer.h"

namespace finetuned::kernels::cuda {

namespace {

using tensor::Bf16;
using tensor::Cuda;

constexpr std::int64_t kLeastClass = 128;      // rows of c: whatever has fewer is of one class
constexpr int kCandidates = 8;                 // algorithms that are asked for a class
constexpr std::size_t kMostKnown = 4096;       // products whose algorithm is remembered
constexpr const char* kLibrary = "libcublasLt.so.13";

/// The library's functions, by their names. Once loaded it stays: it holds what contexts of CUDA need.
struct Library {
  Library() : handle(dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL)) {
    if (!handle) throw tensor::CudaFailed(std::string(kLibrary) + " cannot be loaded: " + dlerror());
  }

  template <class Function>
  Function* function(const char* name) const {
    auto* const found = reinterpret_cast<Function*>(dlsym(handle, name));
    if (!found) throw tensor::CudaFailed(std::string(kLibrary) + " has no " + name);
    return found;
  }

  void* handle;
};

#define FINETUNED_OF_LIBRARY(name) decltype(::name)* name = library.function<decltype(::name)>(#name)

struct Functions {
  Library library;
  FINETUNED_OF_LIBRARY(cublasLtCreate);
  FINETUNED_OF_LIBRARY(cublasLtDestroy);
  FINETUNED_OF_LIBRARY(cublasLtGetStatusString);
  FINETUNED_OF_LIBRARY(cublasLtMatmul);
  FINETUNED_OF_LIBRARY(cublasLtMatmulAlgoCheck);
  FINETUNED_OF_LIBRARY(cublasLtMatmulAlgoGetHeuristic);
  FINETUNED_OF_LIBRARY(cublasLtMatmulDescCreate);
  FINETUNED_OF_LIBRARY(cublasLtMatmulDescDestroy);
  FINETUNED_OF_LIBRARY(cublasLtMatmulDescSetAttribute);
  FINETUNED_OF_LIBRARY(cublasLtMatmulPreferenceCreate);
  FINETUNED_OF_LIBRARY(cublasLtMatmulPreferenceDestroy);
  FINETUNED_OF_LIBRARY(cublasLtMatmulPreferenceSetAttribute);
  FINETUNED_OF_LIBRARY(cublasLtMatrixLayoutCreate);
  FINETUNED_OF_LIBRARY(cublasLtMatrixLayoutDestroy);
};

#undef FINETUNED_OF_LIBRARY

const Functions& functions() {
  static const Functions loaded;
  return loaded;
}

/// What the addresses of A (right), B (left), C (start, or c) and D (c) are multiples of, in bytes, 16 at most.
using Alignments = std::array<std::uint32_t, 4>;

std::uint32_t alignment_of(const void* at) {
  return static_cast<std::uint32_t>(1 << std::min(4, std::countr_zero(reinterpret_cast<std::uintptr_t>(at))));
}

template <class Out>
Alignments alignments_of(const Matmul<Out>& product) {
  return {alignment_of(product.right.data), alignment_of(product.left.data), alignment_of(product.start ? product.start : product.c),
          alignment_of(product.c)};
}

/// What decides the algorithm. Of c's rows the class comes first: so that a row's bits are the same beside few and many others of one
/// class, their exact number only decides where the library refuses the class's first choice for it.
struct Shape {
  std::int64_t m_class, m, n, k, left_stride, right_stride, c_stride;
  Alignments alignments;
  std::uint32_t bias_alignment;  // 0: there is no bias; the library looks at its address too
  bool wide, left_transposed, right_transposed, starts;

  auto operator<=>(const Shape&) const = default;
};

/// A left operand that is given transposed has c's rows along its stride, which has no room for more: they are a weight's.
template <class Out>
Shape shape_of(const Matmul<Out>& product) {
  const std::int64_t m_class = product.left.transposed
                                   ? product.m
                                   : std::max(kLeastClass, static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(product.m))));
  return {m_class, product.m, product.n, product.k, product.left.stride, product.right.stride, product.c_stride,
          alignments_of(product), product.bias ? alignment_of(product.bias) : 0, std::is_same_v<Out, float>, product.left.transposed,
          product.right.transposed, product.start != nullptr};
}

class Products {
 public:
  Products() { check(f_.cublasLtCreate(&handle_), "cublasLtCreate"); }
  ~Products() { f_.cublasLtDestroy(handle_); }
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  static Products& of(const Cuda& device) {
    std::shared_ptr<void>& kept = device.kept_by_kernels();
    if (!kept) kept = std::make_shared<Products>();
    return *static_cast<Products*>(kept.get());
  }

  template <class Out>
  void multiply(const Cuda& device, const Matmul<Out>& product);

 private:
  /// The library's descriptions of one product.
  struct Operands {
    const Functions& f;
    cublasLtMatmulDesc_t matmul = nullptr;
    cublasLtMatrixLayout_t right = nullptr, left = nullptr, c = nullptr;
    explicit Operands(const Functions& functions) : f(functions) {}
    ~Operands() {
      if (c) f.cublasLtMatrixLayoutDestroy(c);
      if (left) f.cublasLtMatrixLayoutDestroy(left);
      if (right) f.cublasLtMatrixLayoutDestroy(right);
      if (matmul) f.cublasLtMatmulDescDestroy(matmul);
    }
    Operands(const Operands&) = delete;
    Operands& operator=(const Operands&) = delete;
  };

  void check(cublasStatus_t status, const char* call) const {
    if (status != CUBLAS_STATUS_SUCCESS)
      throw tensor::CudaFailed(std::string(call) + ": " + f_.cublasLtGetStatusString(status));
  }
  /// `m`: c's rows, which may be more than the product has.
  template <class Out>
  void describe(const Matmul<Out>& product, std::int64_t m, Operands& operands) const;
  void add_layout(cublasLtMatrixLayout_t& layout, cudaDataType_t type, std::int64_t rows, std::int64_t columns, std::int64_t stride) const {
    check(f_.cublasLtMatrixLayoutCreate(&layout, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns), stride),
          "cublasLtMatrixLayoutCreate");
  }
  template <class Value>
  void set(cublasLtMatmulDesc_t matmul, cublasLtMatmulDescAttributes_t attribute, const Value& value) const {
    check(f_.cublasLtMatmulDescSetAttribute(matmul, attribute, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }
  std::vector<cublasLtMatmulAlgo_t> candidates(const Operands& operands, const Alignments& alignments) const;
  template <class Out>
  const cublasLtMatmulAlgo_t& algorithm(const Matmul<Out>& product, const Operands& operands);

  const Functions& f_ = functions();
  cublasLtHandle_t handle_ = nullptr;
  std::map<Shape, cublasLtMatmulAlgo_t> algorithms_;
};

template <class Out>
void Products::describe(const Matmul<Out>& product, std::int64_t m, Operands& operands) const {
  constexpr bool kWide = std::is_same_v<Out, float>;
  check(f_.cublasLtMatmulDescCreate(&operands.matmul, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  const cublasOperation_t of_right = product.right.transposed ? CUBLAS_OP_T : CUBLAS_OP_N,
                          of_left = product.left.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  set(operands.matmul, CUBLASLT_MATMUL_DESC_TRANSA, of_right);
  set(operands.matmul, CUBLASLT_MATMUL_DESC_TRANSB, of_left);
  if (product.bias) {
    base::expects(!kWide, "a bias is of c's type");
    set(operands.matmul, CUBLASLT_MATMUL_DESC_EPILOGUE, cublasLtEpilogue_t{CUBLASLT_EPILOGUE_BIAS});
    set(operands.matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(product.bias));
    set(operands.matmul, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cudaDataType_t{CUDA_R_16BF});
  }
  const std::int64_t n = product.n, k = product.k;
  add_layout(operands.right, CUDA_R_16BF, product.right.transposed ? k : n, product.right.transposed ? n : k, product.right.stride);
  add_layout(operands.left, CUDA_R_16BF, product.left.transposed ? m : k, product.left.transposed ? k : m, product.left.stride);
  add_layout(operands.c, kWide ? CUDA_R_32F : CUDA_R_16BF, n, m, product.c_stride);
}

/// The library's proposals, best first, that need no reduction over parts of k, whose order could differ from run to run.
std::vector<cublasLtMatmulAlgo_t> Products::candidates(const Operands& operands, const Alignments& alignments) const {
  cublasLtMatmulPreference_t made = nullptr;
  check(f_.cublasLtMatmulPreferenceCreate(&made), "cublasLtMatmulPreferenceCreate");
  const std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>, decltype(f_.cublasLtMatmulPreferenceDestroy)> preference(
      made, f_.cublasLtMatmulPreferenceDestroy);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
    check(f_.cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{Cuda::kWorkspaceBytes});
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignments[0]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignments[1]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignments[2]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignments[3]);
  std::array<cublasLtMatmulHeuristicResult_t, kCandidates> results{};
  int found = 0;
  const cublasStatus_t status =
      f_.cublasLtMatmulAlgoGetHeuristic(handle_, operands.matmul, operands.right, operands.left, operands.c, operands.c, preference.get(),
                                        kCandidates, results.data(), &found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};  // so it says that it has none
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  std::vector<cublasLtMatmulAlgo_t> all;
  for (int i = 0; i < found; ++i)
    if (results[static_cast<std::size_t>(i)].state == CUBLAS_STATUS_SUCCESS) all.push_back(results[static_cast<std::size_t>(i)].algo);
  return all;
}

/// The first of its class that the library takes for the product itself; where it takes none, the first of the product's own.
/// `operands` describe it.
template <class Out>
const cublasLtMatmulAlgo_t& Products::algorithm(const Matmul<Out>& product, const Operands& operands) {
  const Shape shape = shape_of(product);
  const auto known = algorithms_.find(shape);
  if (known != algorithms_.end()) return known->second;
  if (algorithms_.size() >= kMostKnown) algorithms_.clear();  // what is forgotten is chosen the same again
  Operands of_class(f_);
  describe(product, shape.m_class, of_class);
  for (const Operands* const asked : {&std::as_const(of_class), &operands}) {
    for (const cublasLtMatmulAlgo_t& one : candidates(*asked, shape.alignments)) {
      cublasLtMatmulHeuristicResult_t checked{};
      const cublasStatus_t taken =
          f_.cublasLtMatmulAlgoCheck(handle_, operands.matmul, operands.right, operands.left, operands.c, operands.c, &one, &checked);
      if (taken == CUBLAS_STATUS_SUCCESS && checked.workspaceSize <= Cuda::kWorkspaceBytes) return algorithms_.emplace(shape, one).first->second;
    }
  }
  throw tensor::CudaFailed("cuBLASLt has no algorithm for a product of " + std::to_string(product.m) + " x " + std::to_string(product.n) +
                           " x " + std::to_string(product.k));
}

template <class Out>
void Products::multiply(const Cuda& device, const Matmul<Out>& product) {
  check_shape(product);
  device.use();
  const tensor::GpuTimer timer(device, product.name, product.flops(), product.bytes());
  Operands operands(f_);
  describe(product, product.m, operands);
  const float beta = product.start ? 1 : 0;
  check(f_.cublasLtMatmul(handle_, operands.matmul, &product.alpha, product.right.data, operands.right, product.left.data, operands.left,
                          &beta, product.start ? product.start : product.c, operands.c, product.c, operands.c, &algorithm(product, operands),
                          device.workspace(), Cuda::kWorkspaceBytes, static_cast<cudaStream_t>(device.stream())),
        "cublasLtMatmul");
}

}  // namespace

void matmul(const Cuda& device, const Matmul<Bf16>& product) { Products::of(device).multiply(device, product); }
void matmul(const Cuda& device, const Matmul<float>& product) { Products::of(device).multiply(device, product); }

}  // namespace finetuned::kernels::cuda
