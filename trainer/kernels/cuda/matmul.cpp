// Matrix products by cuBLASLt, which is loaded when the first is due: a program starts without it. Row-major matrices are given to
// it as the transposes that they are in its column-major eyes: c^T = right^T left^T.

#include "trainer/kernels/cuda/matmul.h"

#include <bit>
#include <cublasLt.h>
#include <dlfcn.h>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>

#include "base/expects.h"

namespace finetuned::kernels::cuda {

namespace {

using tensor::Bf16;
using tensor::Cuda;

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
constexpr const char* kLibrary = "libcublasLt.so.13";

/// The library's functions, by their names.
struct Library {
  Library() : handle(dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL)) {
    if (!handle) throw std::runtime_error(std::string(kLibrary) + " cannot be loaded: " + dlerror());
  }
  ~Library() { dlclose(handle); }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  template <class Function>
  Function* function(const char* name) const {
    auto* const found = reinterpret_cast<Function*>(dlsym(handle, name));
    if (!found) throw std::runtime_error(std::string(kLibrary) + " has no " + name);
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

/// What decides the algorithm: never the exact number of rows of c, but its class, so that a row's bits are the same beside few
/// and many others of one class.
using Shape = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, int>;

/// That all operands' rows share, in bytes: 16, or that of an element.
template <class Out>
std::uint32_t alignment_of(const Matmul<Out>& product) {
  const auto rows = [](const void* data, std::int64_t stride, std::size_t size) {
    return reinterpret_cast<std::uintptr_t>(data) | static_cast<std::uintptr_t>(stride) * size;
  };
  const std::uintptr_t all = rows(product.left.data, product.left.stride, sizeof(Bf16)) |
                             rows(product.right.data, product.right.stride, sizeof(Bf16)) |
                             rows(product.c, product.c_stride, sizeof(Out)) | rows(product.start, product.c_stride, sizeof(Out)) |
                             reinterpret_cast<std::uintptr_t>(product.bias);
  return all % 16 == 0 ? 16 : sizeof(Bf16);
}

class Products {
 public:
  explicit Products(const Cuda& device) : workspace_(device.allocate(kWorkspaceBytes)) {
    check(f_.cublasLtCreate(&handle_), "cublasLtCreate");
  }
  ~Products() { f_.cublasLtDestroy(handle_); }
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  static Products& of(const Cuda& device) {
    std::shared_ptr<void>& kept = device.kept_by_kernels();
    if (!kept) kept = std::make_shared<Products>(device);
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
      throw std::runtime_error(std::string(call) + ": " + f_.cublasLtGetStatusString(status));
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
  cublasLtMatmulAlgo_t choose(const Operands& operands, std::uint32_t alignment) const;
  template <class Out>
  const cublasLtMatmulAlgo_t& algorithm(const Matmul<Out>& product);

  Functions f_;
  cublasLtHandle_t handle_ = nullptr;
  tensor::Buffer workspace_;
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

/// The library's first proposal that needs no reduction over parts of k, whose order could differ from run to run.
cublasLtMatmulAlgo_t Products::choose(const Operands& operands, std::uint32_t alignment) const {
  cublasLtMatmulPreference_t made = nullptr;
  check(f_.cublasLtMatmulPreferenceCreate(&made), "cublasLtMatmulPreferenceCreate");
  const std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>, decltype(f_.cublasLtMatmulPreferenceDestroy)> preference(
      made, f_.cublasLtMatmulPreferenceDestroy);
  const std::uint32_t no_reduction = CUBLASLT_REDUCTION_SCHEME_NONE;
  const std::size_t workspace = kWorkspaceBytes;
  check(f_.cublasLtMatmulPreferenceSetAttribute(preference.get(), CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &no_reduction, sizeof no_reduction),
        "cublasLtMatmulPreferenceSetAttribute");
  check(f_.cublasLtMatmulPreferenceSetAttribute(preference.get(), CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace),
        "cublasLtMatmulPreferenceSetAttribute");
  for (const cublasLtMatmulPreferenceAttributes_t operand :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    check(f_.cublasLtMatmulPreferenceSetAttribute(preference.get(), operand, &alignment, sizeof alignment),
          "cublasLtMatmulPreferenceSetAttribute");
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  check(f_.cublasLtMatmulAlgoGetHeuristic(handle_, operands.matmul, operands.right, operands.left, operands.c, operands.c, preference.get(),
                                          1, &result, &found),
        "cublasLtMatmulAlgoGetHeuristic");
  if (found == 0) throw std::runtime_error("cuBLASLt has no algorithm for a product of this shape");
  return result.algo;
}

template <class Out>
const cublasLtMatmulAlgo_t& Products::algorithm(const Matmul<Out>& product) {
  // A left operand that is given transposed has c's rows along its stride, which has no room for more: they are a weight's.
  const std::int64_t m_class =
      product.left.transposed ? product.m : static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(product.m)));
  const std::uint32_t alignment = alignment_of(product);
  const int kind = (std::is_same_v<Out, float> ? 1 : 0) + (product.left.transposed ? 2 : 0) + (product.right.transposed ? 4 : 0) +
                   (product.bias ? 8 : 0) + 16 * static_cast<int>(alignment);
  const Shape shape{m_class, product.n, product.k, product.left.stride, product.right.stride, product.c_stride, kind};
  const auto known = algorithms_.find(shape);
  if (known != algorithms_.end()) return known->second;
  Operands operands(f_);
  describe(product, m_class, operands);
  return algorithms_.emplace(shape, choose(operands, alignment)).first->second;
}

template <class Out>
void Products::multiply(const Cuda& device, const Matmul<Out>& product) {
  base::expects(product.m > 0 && product.n > 0 && product.k > 0, "a product has a size");
  device.use();
  Operands operands(f_);
  describe(product, product.m, operands);
  const float beta = product.start ? 1 : 0;
  check(f_.cublasLtMatmul(handle_, operands.matmul, &product.alpha, product.right.data, operands.right, product.left.data, operands.left,
                          &beta, product.start ? product.start : product.c, operands.c, product.c, operands.c, &algorithm(product),
                          workspace_.data(), kWorkspaceBytes, static_cast<cudaStream_t>(device.stream())),
        "cublasLtMatmul");
}

}  // namespace

void matmul(const Cuda& device, const Matmul<Bf16>& product) { Products::of(device).multiply(device, product); }
void matmul(const Cuda& device, const Matmul<float>& product) { Products::of(device).multiply(device, product); }

}  // namespace finetuned::kernels::cuda
