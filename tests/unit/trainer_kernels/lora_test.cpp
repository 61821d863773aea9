#include "trainer/kernels/lora.h"

#include <cstring>

#include "tests/unit/trainer_kernels/close.h"

namespace finetuned::kernels {
namespace {

const std::vector<Lora> kShapes{{1, 1, 1},    {2, 3, 5},     {3, 8, 16},   {7, 8, 288},
                                {50, 16, 48}, {100, 32, 65}, {97, 5, 33},  {49, 9, 130},
                                {64, 64, 96}, {10, 256, 40}, {200, 8, 100}};

std::string name_of(const Lora& shape) {
  return std::to_string(shape.tokens) + " tokens, rank " + std::to_string(shape.rank) + ", size " +
         std::to_string(shape.size);
}

template <class Real>
struct Results {
  std::vector<Real> low, second, d_low, a, b;
};

template <class Device, class Real>
Results<Real> all_ways(const Device& device, const Lora& shape, const std::vector<Real>& x,
                       const std::vector<Real>& a, const std::vector<Real>& low) {
  Results<Real> r;
  r.low.resize(static_cast<std::size_t>(shape.tokens * shape.rank));
  r.second = r.d_low = r.low;
  r.a.assign(static_cast<std::size_t>(shape.rank * shape.size), Real(0.25));
  r.b = r.a;
  const Real* pair[2] = {a.data(), a.data() + shape.rank * shape.size};
  Real* const to[2] = {r.low.data(), r.second.data()};
  lora_a_forward(device, shape, x.data(), pair, Real(0.5), to);
  lora_b_backward(device, shape, x.data(), a.data(), Real(0.5), r.d_low.data());
  lora_a_gradient(device, shape, low.data(), x.data(), r.a.data());
  lora_b_gradient(device, shape, low.data(), x.data(), r.b.data());
  return r;
}

TEST(Lora, IsTheOraclesInEveryShape) {
  on_each_cpu([&](const tensor::Cpu& cpu) {
    for (const Lora& shape : kShapes) {
      const Numbers x(shape.tokens * shape.size, 1), a(2 * shape.rank * shape.size, 2),
          low(shape.tokens * shape.rank, 3);
      const auto ours = all_ways(cpu, shape, x.single, a.single, low.single);
      const auto oracle = all_ways(tensor::Reference(), shape, x.exact, a.exact, low.exact);
      expect_close(ours.low, oracle.low, "A x, " + name_of(shape));
      expect_close(ours.second, oracle.second, "a second A x, " + name_of(shape));
      expect_close(ours.d_low, oracle.d_low, "dy B, " + name_of(shape));
      expect_close(ours.a, oracle.a, "dA, " + name_of(shape));
      expect_close(ours.b, oracle.b, "dB, " + name_of(shape));
    }
  });
}

/// A [rank, size] beyond the device's shared memory is treated by runs of ranks.
TEST(Lora, TreatsMatricesLargerThanTheSharedMemory) {
  const Lora shape{3, 90, 50000};
  const tensor::Cpu cpu(2);
  const Numbers x(shape.tokens * shape.size, 1, 0.1), a(2 * shape.rank * shape.size, 2, 0.1),
      low(shape.tokens * shape.rank, 3);
  const auto ours = all_ways(cpu, shape, x.single, a.single, low.single);
  const auto oracle = all_ways(tensor::Reference(), shape, x.exact, a.exact, low.exact);
  expect_close(ours.d_low, oracle.d_low, "dy B");
  expect_close(ours.b, oracle.b, "dB");
}

TEST(Lora, GivesATokenTheSameBitsInAnyBatch) {
  const Lora shape{95, 8, 77};
  on_each_cpu([&](const tensor::Cpu& cpu) {
    const Numbers x(shape.tokens * shape.size, 1), a(shape.rank * shape.size, 2);
    std::vector<float> whole(static_cast<std::size_t>(shape.tokens * shape.rank)),
        alone(static_cast<std::size_t>(shape.rank));
    lora_b_backward(cpu, shape, x.single.data(), a.single.data(), 2, whole.data());
    for (std::int64_t token = 0; token < shape.tokens; ++token) {
      lora_b_backward(cpu, {1, shape.rank, shape.size}, x.single.data() + token * shape.size, a.single.data(),
                      2, alone.data());
      ASSERT_EQ(std::memcmp(alone.data(), whole.data() + token * shape.rank, alone.size() * sizeof(float)),
                0);
    }
  });
}

}  // namespace
}  // namespace finetuned::kernels
