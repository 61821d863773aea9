// The library's matrix product, on the emulator: in double, rounded once.

#include "trainer/kernels/cuda/matmul.h"

#include "tests/cuda_emulator/emulator.h"
#include "trainer/tensor/gpu_timer.h"

namespace finetuned::kernels::cuda {

namespace {

double at(const MatrixView& matrix, std::int64_t row, std::int64_t column) {
  return static_cast<double>(
      widened(matrix.transposed ? matrix.data[column * matrix.stride + row] : matrix.data[row * matrix.stride + column]));
}

double wide(float value) { return static_cast<double>(value); }
double wide(tensor::Bf16 value) { return static_cast<double>(widened(value)); }
void put(float& to, double value) { to = static_cast<float>(value); }
void put(tensor::Bf16& to, double value) { to = tensor::rounded(static_cast<float>(value)); }

template <class Out>
void multiply(const Matmul<Out>& product) {
  check_shape(product);
  for (std::int64_t row = 0; row < product.m; ++row) {
    for (std::int64_t column = 0; column < product.n; ++column) {
      double sum = 0;
      for (std::int64_t k = 0; k < product.k; ++k) sum += at(product.left, row, k) * at(product.right, k, column);
      sum *= static_cast<double>(product.alpha);
      const std::int64_t place = row * product.c_stride + column;
      if (product.start) sum += wide(product.start[place]);
      if (product.bias) sum += wide(product.bias[column]);
      put(product.c[place], sum);
    }
  }
}

}  // namespace

void matmul(const tensor::Cuda& device, const Matmul<tensor::Bf16>& product) {
  const tensor::GpuTimer timer(device, product.name, product.flops(), product.bytes());
  cuda_emulator::start([product] { multiply(product); });
}
void matmul(const tensor::Cuda& device, const Matmul<float>& product) {
  const tensor::GpuTimer timer(device, product.name, product.flops(), product.bytes());
  cuda_emulator::start([product] { multiply(product); });
}

}  // namespace finetuned::kernels::cuda
