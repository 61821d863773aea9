// By NCCL, which is loaded when ranks with GPUs meet: a program starts without it.

#include "trainer/collective/gpu_exchange.h"

#include <algorithm>
#include <chrono>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>
#include <string>
#include <thread>
#include <vector>

#include "trainer/tensor/cuda.h"

namespace finetuned::collective {

namespace {

using std::chrono::steady_clock;

constexpr const char* kLibrary = "libnccl.so.2";
constexpr int kAskGroup = 2000;  // waits of 50 us
constexpr int kHearPeer = 20;    // asks, of 100 ms: the word of a rank that failed may come after NCCL's

/// The library's functions; `all` says whether they are there. Once loaded it stays.
struct Nccl {
  Nccl() : handle(dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL)) {
    if (!handle) return;
    all = find(get_unique_id, "ncclGetUniqueId") && find(init_rank, "ncclCommInitRankConfig") && find(abort, "ncclCommAbort") &&
          find(async_error, "ncclCommGetAsyncError") && find(send, "ncclSend") && find(receive, "ncclRecv") &&
          find(group_start, "ncclGroupStart") && find(group_end, "ncclGroupEnd") && find(error_string, "ncclGetErrorString");
  }
  template <class Function>
  bool find(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(dlsym(handle, name));
    return function != nullptr;
  }

  void* handle;
  bool all = false;
  decltype(::ncclGetUniqueId)* get_unique_id = nullptr;
  decltype(::ncclCommInitRankConfig)* init_rank = nullptr;
  decltype(::ncclCommAbort)* abort = nullptr;
  decltype(::ncclCommGetAsyncError)* async_error = nullptr;
  decltype(::ncclSend)* send = nullptr;
  decltype(::ncclRecv)* receive = nullptr;
  decltype(::ncclGroupStart)* group_start = nullptr;
  decltype(::ncclGroupEnd)* group_end = nullptr;
  decltype(::ncclGetErrorString)* error_string = nullptr;
};

const Nccl& nccl() {
  static const Nccl loaded;
  return loaded;
}

/// Calls do not wait for other ranks: what goes on is no error. Of others, NCCL tells this process's own calls of CUDA from
/// what came of another rank, which says better itself why.
void check(ncclResult_t result, const char* call, Collective& group) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  const std::string said = std::string(call) + ": " + nccl().error_string(result);
  if (result == ncclUnhandledCudaError) throw tensor::CudaFailed(said);
  for (int asked = 0; asked < kHearPeer; ++asked) {
    group.check_peers();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  throw PeerLost(said);
}

struct Hello {
  GpuId gpu;
  ncclUniqueId id;  // rank 0's is the group's
};

bool one_gpu_each(const std::vector<Hello>& all) {
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t other = 0; other < i; ++other)
      if (all[i].gpu == all[other].gpu) return false;
  return true;
}

}  // namespace

struct GpuExchange::Joined {
  ~Joined() {
    if (communicator) nccl().abort(communicator);  // ends it whatever the others do
  }
  explicit Joined(Collective& of) : group(of) {}

  /// Until done() says so, for the group's timeout at most; a rank that the group knows to be lost ends it at once.
  template <class Done>
  void wait(const Done& done) const {
    const steady_clock::time_point begin = steady_clock::now();
    for (int asked = 1; !done(); ++asked) {
      if (steady_clock::now() - begin >= group.timeout())
        throw PeerLost("a GPU of another rank was waited for in vain, for " + std::to_string(group.timeout().count() / 1000) + " s");
      if (asked % kAskGroup == 0) group.check_peers();
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  void check(ncclResult_t result, const char* call) const { collective::check(result, call, group); }
  /// Whether what was called is under way; throws where it failed.
  bool settled() const {
    ncclResult_t found = ncclSuccess;
    check(nccl().async_error(communicator, &found), "ncclCommGetAsyncError");
    check(found, "the exchange between GPUs");
    return found == ncclSuccess;
  }
  /// An error here is of this process's own GPU.
  bool stream_done() const {
    const cudaError_t status = cudaStreamQuery(stream);
    if (status != cudaSuccess && status != cudaErrorNotReady)
      throw tensor::CudaFailed(std::string("the exchange between GPUs: ") + cudaGetErrorString(status));
    return status == cudaSuccess;
  }

  ncclComm_t communicator = nullptr;
  cudaStream_t stream = nullptr;
  Collective& group;
};

GpuExchange::GpuExchange(std::unique_ptr<Joined> joined) : joined_(std::move(joined)) {}
GpuExchange::~GpuExchange() = default;

std::unique_ptr<GpuExchange> GpuExchange::join(Collective& group, const GpuId& gpu, void* stream) {
  Hello mine{.gpu = gpu, .id = {}};
  std::uint8_t able = nccl().all ? 1 : 0;
  if (group.rank() == 0 && able) able = nccl().get_unique_id(&mine.id) == ncclSuccess ? 1 : 0;
  const auto abilities = gather_values(group, able);
  if (std::count(abilities.begin(), abilities.end(), 0) > 0) return nullptr;
  const auto all = gather_values(group, mine);
  if (!one_gpu_each(all)) return nullptr;
  auto joined = std::make_unique<Joined>(group);
  joined->stream = static_cast<cudaStream_t>(stream);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  joined->check(nccl().init_rank(&joined->communicator, group.size(), all[0].id, group.rank(), &config), "ncclCommInitRankConfig");
  joined->wait([&] { return joined->settled(); });
  return std::unique_ptr<GpuExchange>(new GpuExchange(std::move(joined)));
}

void GpuExchange::trade(std::span<const Outgoing> out, std::span<const Incoming> in) {
  Joined& my = *joined_;
  my.check(nccl().group_start(), "ncclGroupStart");
  for (const Outgoing& one : out)
    my.check(nccl().send(one.values.data(), one.values.size(), ncclFloat32, one.to, my.communicator, my.stream), "ncclSend");
  for (const Incoming& one : in)
    my.check(nccl().receive(one.values.data(), one.values.size(), ncclFloat32, one.from, my.communicator, my.stream), "ncclRecv");
  my.check(nccl().group_end(), "ncclGroupEnd");
  my.wait([&] { return my.settled(); });  // all of it is on the stream
  my.wait([&] { return my.stream_done() && my.settled(); });
}

}  // namespace finetuned::collective
