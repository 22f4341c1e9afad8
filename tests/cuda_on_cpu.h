#pragma once
/// Runs CUDA kernels on the CPU, so that their arithmetic, indices and synchronisation are tested
/// where there is no GPU. Include it before the .cuh with the kernels. The threads of a block are
/// fibers of one thread, switched at barriers; blocks run one after the other. Memory that a kernel
/// forgets to guard by a barrier reads stale here as there, mostly: this finds wrong arithmetic
/// and missing guards at edges, not races.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

namespace tiller::cuda_on_cpu {

constexpr int kWarp = 32;
constexpr size_t kStackBytes = 256 << 10;

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  unsigned count() const { return x * y * z; }
};

enum class Waits { nowhere, in_warp, in_block, done };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  Dim3 thread;
  Waits waits = Waits::nowhere;
  unsigned exchanges = 0;  ///< Two buffers take turns, so that one barrier an exchange is enough.
};

using Words = std::array<uint32_t, 8>;

struct Block {
  ucontext_t scheduler;
  std::vector<Fiber> fibers;
  size_t current = 0;
  Dim3 grid, block, index;
  std::vector<char> shared;
  std::vector<std::array<Words, 2>> mailbox;  ///< What each thread shows its warp.
  std::function<void()> body;
};

inline Block* running = nullptr;

inline Fiber& self() { return running->fibers[running->current]; }

inline void wait(Waits where) {
  self().waits = where;
  swapcontext(&self().context, &running->scheduler);
}

inline void enter_fiber() {
  running->body();
  wait(Waits::done);
}

/// Lets the threads first..last - 1 go on once all that aren't done wait at `where`.
inline bool release(Block& block, size_t first, size_t last, Waits where) {
  bool any = false;
  for (size_t i = first; i < last; ++i) {
    if (block.fibers[i].waits == Waits::done) continue;
    if (block.fibers[i].waits != where) return false;
    any = true;
  }
  for (size_t i = first; i < last; ++i)
    if (block.fibers[i].waits == where) block.fibers[i].waits = Waits::nowhere;
  return any;
}

inline bool run_ready(Block& block) {
  bool any = false;
  for (size_t i = 0; i < block.fibers.size(); ++i) {
    if (block.fibers[i].waits != Waits::nowhere) continue;
    block.current = i;
    swapcontext(&block.scheduler, &block.fibers[i].context);
    any = true;
  }
  return any;
}

inline bool release_some(Block& block) {
  const size_t threads = block.fibers.size();
  bool any = false;
  for (size_t first = 0; first < threads; first += kWarp)
    any |= release(block, first, std::min(threads, first + kWarp), Waits::in_warp);
  return release(block, 0, threads, Waits::in_block) || any;
}

inline void run_block(Block& block) {
  running = &block;
  for (size_t i = 0; i < block.fibers.size(); ++i) {
    Fiber& fiber = block.fibers[i];
    const unsigned n = unsigned(i);
    fiber.thread = {n % block.block.x, n / block.block.x % block.block.y,
                    n / block.block.x / block.block.y};
    fiber.waits = Waits::nowhere;
    fiber.exchanges = 0;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter_fiber, 0);
  }
  while (run_ready(block) || release_some(block)) {
  }
  for (const Fiber& fiber : block.fibers)
    if (fiber.waits != Waits::done) throw std::logic_error("threads wait at different barriers");
  running = nullptr;
}

/// kernel<<<grid, block, shared_bytes>>>: `body` calls the kernel. Shared memory starts as rubbish.
inline void launch(Dim3 grid, Dim3 block, size_t shared_bytes, const std::function<void()>& body) {
  Block state;
  state.fibers = std::vector<Fiber>(block.count());
  state.mailbox.resize(block.count());
  state.grid = grid;
  state.block = block;
  state.body = body;
  for (unsigned i = 0; i < grid.count(); ++i) {
    state.shared.assign(shared_bytes, char(0x7f));
    state.index = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
    run_block(state);
  }
}

/// What the lanes of a warp have shown each other.
struct Exchange {
  size_t first;
  unsigned buffer;
  const Words& lane(size_t index) const { return running->mailbox[first + index][buffer]; }
};

/// Every thread of the warp must call it.
inline Exchange show_warp(const Words& own) {
  const unsigned buffer = self().exchanges++ % 2;
  running->mailbox[running->current][buffer] = own;
  const size_t first = running->current / kWarp * kWarp;
  wait(Waits::in_warp);
  return {first, buffer};
}

inline float shuffle_xor(float value, int mask) {
  Words own{};
  std::memcpy(own.data(), &value, sizeof value);
  const size_t lane = running->current % kWarp;
  const Words other = show_warp(own).lane(lane ^ size_t(mask));
  std::memcpy(&value, other.data(), sizeof value);
  return value;
}

}  // namespace tiller::cuda_on_cpu

// What kernels write as CUDA has it.
#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)
#define threadIdx (::tiller::cuda_on_cpu::self().thread)
#define blockIdx (::tiller::cuda_on_cpu::running->index)
#define blockDim (::tiller::cuda_on_cpu::running->block)
#define gridDim (::tiller::cuda_on_cpu::running->grid)
#define __syncthreads() ::tiller::cuda_on_cpu::wait(::tiller::cuda_on_cpu::Waits::in_block)
#define __shfl_xor_sync(mask, value, lanes) ::tiller::cuda_on_cpu::shuffle_xor(value, lanes)

/// Rounded by itself: the compiler may not fuse it with another.
inline double __dmul_rn(double a, double b) {
  const volatile double product = a * b;
  return product;
}
inline double __dadd_rn(double a, double b) { return a + b; }

namespace tiller::kernels {

template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(cuda_on_cpu::running->shared.data());
}

inline float fast_exp2(float x) { return std::exp2(x); }
inline float fast_divide(float a, float b) { return a / b; }

/// Of sixteen bits, as the fragments' words hold them.
template <bool bfloat16>
float half_of(uint32_t word, int index) {
  const auto bits = static_cast<uint16_t>(word >> (16 * index));
  if constexpr (bfloat16) return c10::BFloat16(bits, c10::BFloat16::from_bits());
  return c10::Half(bits, c10::Half::from_bits());
}

/// The fragments as the PTX manual draws them for mma.m16n8k16.
template <bool bfloat16>
void multiply_add_16x8x16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  const auto warp = cuda_on_cpu::show_warp({a[0], a[1], a[2], a[3], b[0], b[1]});
  const size_t lane = cuda_on_cpu::running->current % cuda_on_cpu::kWarp;
  const size_t group = lane / 4, in_group = lane % 4;
  for (size_t i = 0; i < 4; ++i) {
    const size_t high_row = i / 2, column = 2 * in_group + i % 2;
    for (size_t k = 0; k < 16; ++k) {
      const size_t owner = k % 8 / 2, high_k = k / 8;
      const auto& rows = warp.lane(4 * group + owner);
      const auto& columns = warp.lane(4 * column + owner);
      c[i] += half_of<bfloat16>(rows[high_row + 2 * high_k], int(k % 2)) *
              half_of<bfloat16>(columns[4 + high_k], int(k % 2));
    }
  }
}

}  // namespace tiller::kernels
