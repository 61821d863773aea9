// cuBLASLt on the processor, as its documentation describes it: column-major matrices, D = alpha op(A) op(B) + beta C + bias, with a number of
// the bias for each of D's rows. Only what trainer/kernels/cuda/matmul.cpp calls, and strict: what the documentation does not allow is
// CUBLAS_STATUS_INVALID_VALUE, with the reason on stderr.

#include "tests/unit/cuda_matmul/emulated_cublaslt.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <cublasLt.h>

namespace {

namespace asked_of = finetuned::emulated_cublaslt;

constexpr std::uint64_t kMine = 0x66616b65;  // marks an algorithm that was proposed here
constexpr int kProposals = 3;

std::function<void(std::function<void()>)> start = [](const std::function<void()>& work) { work(); };
asked_of::Refuses refuses = asked_of::Refuses::kNone;
asked_of::Algorithm last;
int asked = 0;

struct Layout {
  cudaDataType type;
  std::uint64_t rows, columns;
  std::int64_t stride;
};
struct Description {
  cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  cudaDataType_t bias_type = CUDA_R_32F;
};
struct Preference {
  std::uint32_t reductions = ~0u;
  std::uint64_t workspace = 0;
  std::uint32_t alignments[4] = {256, 256, 256, 256};
};

template <class Type, class Opaque>
const Type& as(const Opaque* opaque) {
  return *reinterpret_cast<const Type*>(opaque);
}

cublasStatus_t wrong(const char* why) {
  std::fprintf(stderr, "emulated cuBLASLt: %s\n", why);
  return CUBLAS_STATUS_INVALID_VALUE;
}

template <class Value>
bool take(Value& to, const void* from, std::size_t bytes) {
  if (bytes != sizeof to) return false;
  std::memcpy(&to, from, sizeof to);
  return true;
}

struct Shape {
  std::uint64_t m, n, k;
};

/// What is wrong with the operands; null: nothing, and `shape` is theirs.
const char* fault_of(const Description& of, const Layout& a, const Layout& b, const Layout& c, const Layout& d, Shape& shape) {
  for (const Layout* one : {&a, &b, &c, &d})
    if (one->stride < static_cast<std::int64_t>(one->rows)) return "a leading dimension is less than the rows";
  shape = {of.a == CUBLAS_OP_N ? a.rows : a.columns, of.b == CUBLAS_OP_N ? b.columns : b.rows, of.a == CUBLAS_OP_N ? a.columns : a.rows};
  if ((of.b == CUBLAS_OP_N ? b.rows : b.columns) != shape.k) return "op(A)'s columns are not op(B)'s rows";
  if (c.rows != shape.m || c.columns != shape.n || d.rows != shape.m || d.columns != shape.n) return "C or D has another shape than op(A) op(B)";
  if (a.type != CUDA_R_16BF || b.type != CUDA_R_16BF || c.type != d.type || (d.type != CUDA_R_16BF && d.type != CUDA_R_32F))
    return "these types are not multiplied";
  if (of.epilogue == CUBLASLT_EPILOGUE_BIAS && (!of.bias || of.bias_type != d.type)) return "the bias is missing, or not of D's type";
  if (of.epilogue != CUBLASLT_EPILOGUE_BIAS && of.epilogue != CUBLASLT_EPILOGUE_DEFAULT) return "there is no such epilogue here";
  return nullptr;
}

double number(const void* at, std::uint64_t place, cudaDataType type) {
  if (type == CUDA_R_32F) return static_cast<double>(static_cast<const float*>(at)[place]);
  return static_cast<double>(std::bit_cast<float>(std::uint32_t{static_cast<const std::uint16_t*>(at)[place]} << 16));
}

void put(void* at, std::uint64_t place, cudaDataType type, float value) {
  if (type == CUDA_R_32F) {
    static_cast<float*>(at)[place] = value;
    return;
  }
  const auto bits = std::bit_cast<std::uint32_t>(value);
  static_cast<std::uint16_t*>(at)[place] = static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

struct Product {
  Description of;
  Layout a_layout, b_layout, c_layout, d_layout;
  Shape shape;
  const void *a, *b, *c;
  void* d;
  float alpha, beta;

  void operator()() const {
    const auto at = [](const Layout& layout, std::uint64_t row, std::uint64_t column) {
      return row + column * static_cast<std::uint64_t>(layout.stride);
    };
    for (std::uint64_t column = 0; column < shape.n; ++column)
      for (std::uint64_t row = 0; row < shape.m; ++row) {
        double sum = 0;
        for (std::uint64_t k = 0; k < shape.k; ++k)
          sum += number(a, of.a == CUBLAS_OP_N ? at(a_layout, row, k) : at(a_layout, k, row), a_layout.type) *
                 number(b, of.b == CUBLAS_OP_N ? at(b_layout, k, column) : at(b_layout, column, k), b_layout.type);
        sum *= static_cast<double>(alpha);
        if (beta != 0) sum += static_cast<double>(beta) * number(c, at(c_layout, row, column), c_layout.type);  // else C is not read
        if (of.epilogue == CUBLASLT_EPILOGUE_BIAS) sum += number(of.bias, row, of.bias_type);
        put(d, at(d_layout, row, column), d_layout.type, static_cast<float>(sum));
      }
  }
};

bool refused(const cublasLtMatmulAlgo_t& algorithm, std::uint64_t columns) {
  if (algorithm.data[1] <= columns || refuses == asked_of::Refuses::kNone) return false;
  return refuses == asked_of::Refuses::kAll || algorithm.data[2] == 0;
}

bool aligned(const void* at, std::uint64_t to) { return reinterpret_cast<std::uintptr_t>(at) % to == 0; }

}  // namespace

namespace finetuned::emulated_cublaslt {
void start_by(std::function<void(std::function<void()>)> with) { start = std::move(with); }
void refuse(Refuses what) { refuses = what; }
Algorithm last_algorithm() { return last; }
int questions() { return asked; }
}  // namespace finetuned::emulated_cublaslt

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static int here;
  *handle = reinterpret_cast<cublasLtHandle_t>(&here);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }
const char* cublasLtGetStatusString(cublasStatus_t status) { return status == CUBLAS_STATUS_SUCCESS ? "success" : "refused by the emulated one"; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* made, cublasComputeType_t compute, cudaDataType_t scale) {
  if (compute != CUBLAS_COMPUTE_32F || scale != CUDA_R_32F) return wrong("sums are not in single precision");
  *made = reinterpret_cast<cublasLtMatmulDesc_t>(new Description);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t one) {
  delete reinterpret_cast<Description*>(one);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t one, cublasLtMatmulDescAttributes_t attribute, const void* value,
                                              std::size_t bytes) {
  Description& to = *reinterpret_cast<Description*>(one);
  bool taken = false;
  if (attribute == CUBLASLT_MATMUL_DESC_TRANSA) taken = take(to.a, value, bytes);
  if (attribute == CUBLASLT_MATMUL_DESC_TRANSB) taken = take(to.b, value, bytes);
  if (attribute == CUBLASLT_MATMUL_DESC_EPILOGUE) taken = take(to.epilogue, value, bytes);
  if (attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER) taken = take(to.bias, value, bytes);
  if (attribute == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE) taken = take(to.bias_type, value, bytes);
  return taken ? CUBLAS_STATUS_SUCCESS : wrong("an attribute of a product is unknown, or of another size");
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* made, cudaDataType type, std::uint64_t rows, std::uint64_t columns,
                                          std::int64_t stride) {
  *made = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{type, rows, columns, stride});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t one) {
  delete reinterpret_cast<Layout*>(one);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) {
  *made = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t one) {
  delete reinterpret_cast<Preference*>(one);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t one, cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, std::size_t bytes) {
  Preference& to = *reinterpret_cast<Preference*>(one);
  bool taken = false;
  if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) taken = take(to.reductions, value, bytes);
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) taken = take(to.workspace, value, bytes);
  if (attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES) taken = take(to.alignments[0], value, bytes);
  if (attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES) taken = take(to.alignments[1], value, bytes);
  if (attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES) taken = take(to.alignments[2], value, bytes);
  if (attribute == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES) taken = take(to.alignments[3], value, bytes);
  return taken ? CUBLAS_STATUS_SUCCESS : wrong("a preference is unknown, or of another size");
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t of, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preferred,
                                              int room, cublasLtMatmulHeuristicResult_t results[], int* found) {
  ++asked;
  *found = 0;
  Shape shape{};
  if (const char* fault = fault_of(as<Description>(of), as<Layout>(a), as<Layout>(b), as<Layout>(c), as<Layout>(d), shape)) return wrong(fault);
  const Preference& preference = as<Preference>(preferred);
  if (preference.reductions != CUBLASLT_REDUCTION_SCHEME_NONE) return wrong("a sum may be split");
  for (std::uint64_t place = 0; place < kProposals && *found < room; ++place) {
    cublasLtMatmulHeuristicResult_t& one = results[(*found)++];
    one = {};
    one.state = CUBLAS_STATUS_SUCCESS;
    one.algo.data[0] = kMine, one.algo.data[1] = shape.n, one.algo.data[2] = place;
    for (std::size_t i = 0; i < 4; ++i) one.algo.data[3 + i] = preference.alignments[i];
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t of, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  Shape shape{};
  if (const char* fault = fault_of(as<Description>(of), as<Layout>(a), as<Layout>(b), as<Layout>(c), as<Layout>(d), shape)) return wrong(fault);
  if (algorithm->data[0] != kMine) return wrong("this is no algorithm");
  if (refused(*algorithm, shape.n)) return CUBLAS_STATUS_NOT_SUPPORTED;
  *result = {};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t of, const void* alpha, const void* a, cublasLtMatrixLayout_t a_layout,
                              const void* b, cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace, std::size_t workspace_bytes, cudaStream_t) {
  Product product{as<Description>(of), as<Layout>(a_layout), as<Layout>(b_layout), as<Layout>(c_layout), as<Layout>(d_layout), {}, a, b, c, d,
                  *static_cast<const float*>(alpha), *static_cast<const float*>(beta)};
  if (const char* fault = fault_of(product.of, product.a_layout, product.b_layout, product.c_layout, product.d_layout, product.shape))
    return wrong(fault);
  if (algorithm->data[0] != kMine || refused(*algorithm, product.shape.n)) return wrong("this algorithm is none for the product");
  if (!aligned(a, algorithm->data[3]) || !aligned(b, algorithm->data[4]) || !aligned(c, algorithm->data[5]) || !aligned(d, algorithm->data[6]))
    return wrong("an operand is less aligned than was said when the algorithm was asked for");
  if (!aligned(workspace, 16) || (workspace_bytes > 0 && !workspace)) return wrong("the workspace is missing, or not aligned");
  last = {algorithm->data[1], algorithm->data[2]};
  start(product);
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
