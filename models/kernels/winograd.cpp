#include "models/kernels/winograd.h"

#include "models/kernels/vectors.h"

// Only what has internal linkage may be compiled here; group_norm.cpp says why.
namespace tiller::kernels {
namespace {

constexpr int64_t kPoints = 16;  // of a 4x4 tile, each of which is a matrix product of its own
constexpr int64_t kPanel = 2 * kWidth;

/// Floats from one row or point to the next: a cache line more than there are, so that rows don't
/// fall on each other in the cache.
int64_t padded(int64_t floats) { return (floats + 15) / 16 * 16 + 16; }

int64_t packed(int64_t in) { return kPoints * in * kPanel; }

float to_float(float x) { return x; }

float to_float(BFloat16Bits x) {
  const uint32_t bits = uint32_t(x) << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

using Doubles [[gnu::vector_size(4 * kWidth)]] = double;
using HalfFloats [[gnu::vector_size(2 * kWidth)]] = float;

/// G g G^T of the filters of one input for outputs beside each other. In float64, so that a weight
/// is rounded once.
void transform_filters(const float (&g)[9][kPanel], int64_t c, float* to, int64_t step) {
  const auto tap = [&](int i) {
    return __builtin_convertvector(read<HalfFloats>(g[i] + c, kWidth), Doubles);
  };
  const auto put = [&](int point, Doubles v) {
    write(__builtin_convertvector(v, HalfFloats), to + point * step, kWidth);
  };
  Doubles rows[4][3];
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    const Doubles middle = tap(3 + j), outer = tap(j) + tap(6 + j);
    rows[0][j] = tap(j);
    rows[1][j] = (outer + middle) * 0.5;
    rows[2][j] = (outer - middle) * 0.5;
    rows[3][j] = tap(6 + j);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const Doubles outer = rows[i][0] + rows[i][2];
    put(4 * i + 0, rows[i][0]);
    put(4 * i + 1, (outer + rows[i][1]) * 0.5);
    put(4 * i + 2, (outer - rows[i][1]) * 0.5);
    put(4 * i + 3, rows[i][2]);
  }
}

/// (point, input, output of the panel); zeros beyond the last output. As many inputs at once as
/// share a cache line.
template <class T>
void pack(const T* weight, int64_t in, int64_t out, int64_t panel, float* to) {
  constexpr int64_t line = 16;
  const int64_t first = panel * kPanel, outputs = out - first < kPanel ? out - first : kPanel;
  float g[line][9][kPanel] = {};
  for (int64_t from = 0; from < in; from += line) {
    const int64_t inputs = in - from < line ? in - from : line;
    for (int64_t c = 0; c < outputs; ++c)
      for (int64_t tap = 0; tap < 9; ++tap)
        for (int64_t i = 0; i < inputs; ++i)
          g[i][tap][c] = to_float(weight[((first + c) * 9 + tap) * in + from + i]);
    for (int64_t i = 0; i < inputs; ++i)
      for (int64_t c = 0; c < kPanel; c += kWidth / 2)
        transform_filters(g[i], c, to + (from + i) * kPanel + c, in * kPanel);
  }
}

/// Where the outputs of a tile begin.
struct Place {
  int64_t image, row, column;
};

Place place_of(const ConvShape& shape, int64_t tile) {
  const int64_t across = (shape.width + 1) / 2, down = (shape.height + 1) / 2;
  return {tile / (across * down), tile / across % down * 2, tile % across * 2};
}

/// B^T d B of the 4x4 pixels d that begin one above and to the left of the outputs, zeros outside
/// the image; points `step` apart.
template <class T>
void transform_tile(const ConvShape& shape, const Place& place, const T* x, int64_t step,
                    float* to) {
  const T* pixels[4][4];
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 4; ++j) {
      const int64_t row = place.row + i - 1, column = place.column + j - 1;
      const bool inside = row >= 0 && row < shape.height && column >= 0 && column < shape.width;
      const int64_t pixel = (place.image * shape.height + row) * shape.width + column;
      pixels[i][j] = inside ? x + pixel * shape.in : nullptr;
    }
  over(shape.in, [&](int64_t c, int64_t count) {
    Floats t[4][4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      Floats d[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) d[i] = pixels[i][j] ? load(pixels[i][j] + c, count) : Floats{};
      t[0][j] = d[0] - d[2];
      t[1][j] = d[1] + d[2];
      t[2][j] = d[2] - d[1];
      t[3][j] = d[1] - d[3];
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      store(t[i][0] - t[i][2], to + (4 * i + 0) * step + c, count);
      store(t[i][1] + t[i][2], to + (4 * i + 1) * step + c, count);
      store(t[i][2] - t[i][1], to + (4 * i + 2) * step + c, count);
      store(t[i][1] - t[i][3], to + (4 * i + 3) * step + c, count);
    }
  });
}

/// to[r] = sum over inputs of from[r][i] * weight[i], for one panel.
template <int rows>
void products(const float* from, int64_t from_step, const float* weight, int64_t in, float* to,
              int64_t to_step) {
  Floats sums[rows][2] = {};
  for (int64_t i = 0; i < in; ++i, weight += kPanel) {
    const Floats low = load(weight), high = load(weight + kWidth);
#pragma GCC unroll 12
    for (int r = 0; r < rows; ++r) {
      const float each = from[r * from_step + i];
      sums[r][0] += each * low;
      sums[r][1] += each * high;
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < rows; ++r) {
    store(sums[r][0], to + r * to_step);
    store(sums[r][1], to + r * to_step + kWidth);
  }
}

template <int... rows>
struct Counts {
  static constexpr decltype(&products<1>) by_rows[] = {products<rows>...};
};
// As many tiles as have their sums in registers.
#if defined(__AVX512F__)
using Products = Counts<1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12>;
#else
using Products = Counts<1, 2, 3, 4, 5, 6>;
#endif

constexpr int64_t kRows = sizeof Products::by_rows / sizeof *Products::by_rows;

/// Of one point and panel, for all tiles, in calls of nearly the same number each.
void all_products(const float* from, int64_t from_step, const float* weight, int64_t in, float* to,
                  int64_t to_step, int64_t tiles) {
  for (int64_t calls = (tiles + kRows - 1) / kRows; calls > 0; --calls) {
    const int64_t rows = (tiles + calls - 1) / calls;
    Products::by_rows[rows - 1](from, from_step, weight, in, to, to_step);
    from += rows * from_step;
    to += rows * to_step;
    tiles -= rows;
  }
}

/// A^T m A of one tile's outputs from `first` on, and the bias.
template <class T>
void transform_back(const ConvShape& shape, const Place& place, const float* from, int64_t step,
                    const T* bias, int64_t first, int64_t outputs, T* y) {
  over(outputs, [&](int64_t c, int64_t count) {
    Floats t[2][4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      Floats m[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) m[i] = load(from + (4 * i + j) * step + c, count);
      t[0][j] = m[0] + m[1] + m[2];
      t[1][j] = m[1] - m[2] - m[3];
    }
    const Floats added = bias ? load(bias + first + c, count) : Floats{};
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const int64_t row = place.row + i;
      if (row >= shape.height) continue;
      T* to = y + ((place.image * shape.height + row) * shape.width + place.column) * shape.out +
              first + c;
      store(t[i][0] + t[i][1] + t[i][2] + added, to, count);
      if (place.column + 1 < shape.width)
        store(t[i][1] - t[i][2] - t[i][3] + added, to + shape.out, count);
    }
  });
}

struct Layout {
  int64_t in_row, in_point, out_row, out_point;
};

Layout layout_of(const ConvShape& shape, const ConvPart& part) {
  const int64_t in_row = padded(shape.in), out_row = padded(part.panels * kPanel);
  return {in_row, padded(part.tiles * in_row), out_row, padded(part.tiles * out_row)};
}

int64_t workspace(const ConvShape& shape, const ConvPart& part) {
  const Layout layout = layout_of(shape, part);
  return kPoints * (layout.in_point + layout.out_point);
}

template <class T>
void convolve(const ConvShape& shape, const ConvPart& part, const T* x, const float* weight,
              const T* bias, T* y, float* work) {
  const Layout layout = layout_of(shape, part);
  float* answers = work + kPoints * layout.in_point;
  for (int64_t i = 0; i < part.tiles; ++i)
    transform_tile(shape, place_of(shape, part.tile + i), x, layout.in_point,
                   work + i * layout.in_row);
  for (int64_t point = 0; point < kPoints; ++point)
    for (int64_t i = 0; i < part.panels; ++i)
      all_products(work + point * layout.in_point, layout.in_row,
                   weight + ((part.panel + i) * kPoints + point) * shape.in * kPanel, shape.in,
                   answers + point * layout.out_point + i * kPanel, layout.out_row, part.tiles);
  const int64_t first = part.panel * kPanel, wanted = part.panels * kPanel;
  const int64_t outputs = shape.out - first < wanted ? shape.out - first : wanted;
  for (int64_t i = 0; i < part.tiles; ++i)
    transform_back(shape, place_of(shape, part.tile + i), answers + i * layout.out_row,
                   layout.out_point, bias, first, outputs, y);
}

template <class T>
constexpr WinogradKernels<T> kKernels = {pack<T>, convolve<T>};

constexpr WinogradTable kTable = {kPanel, packed, workspace, kKernels<float>,
                                  kKernels<BFloat16Bits>};

}  // namespace

const WinogradTable& TILLER_KERNEL_NAME() { return kTable; }

}  // namespace tiller::kernels
