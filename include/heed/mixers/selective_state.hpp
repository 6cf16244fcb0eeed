// The Mamba-1 block: every channel is a recurrence of its own, with N decays and constant memory.
//
//   u = conv(x W_x)   z = x W_z                                     conv: short, causal, per channel, then SiLU
//   b = u W_b         c = u W_c        dt = softplus(u W_low W_dt + dt_bias)       a = -exp(a_log)
//   h_tn = exp(dt_t a_n) h_{t-1,n} + dt_t u_t b_tn                  per channel and state n
//   s_t  = sum_n c_tn h_tn + d u_t
//   y += (s * silu(z)) W_o
//
//   x, y [T x D]   u, z, dt, s [T x C]   b, c [T x groups N]   a, h [N x C]   u W_low [T x R]
// C channels: as wide as its heads are together, unless chosen. A layer by itself is chosen twice as wide as the model.
// Source: Gu and Dao 2023 (arXiv 2312.00752), algorithm 2 and section 3.4; beside attention: Yan et al. 2024 (arXiv
// 2410.12850).
#pragma once

#include <cmath>
#include <optional>

#include "../core/config_numbers.hpp"
#include "../ops/activation.hpp"
#include "../ops/linear.hpp"
#include "../ops/selective_scan.hpp"
#include "../ops/time_step.hpp"
#include "initialise.hpp"
#include "mixer.hpp"
#include "reach.hpp"
#include "recurrence.hpp"

namespace heed::inline HEED_ABI {

struct SelectiveState {
  static constexpr std::string_view name = "selective state";
  using consumes = signals<>;
  using publishes = signals<>;

  struct Config {
    Index inner_width = 0;   // C; 0: H E_v, as its heads are wide. Without heads there are no channels
    Index state_width = 16;  // N
    Index dt_rank = 0;       // R; 0: D / 16, rounded up
    Index groups = 1;        // of b and c: channel i reads group floor(i groups / C)
    Index taps = 4;          // of the convolution
    Index chunk = 32;        // rows between two states that training keeps; no output depends on it

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("inner_width", config.inner_width);
      f("state_width", config.state_width);
      f("dt_rank", config.dt_rank);
      f("groups", config.groups);
      f("taps", config.taps);
      f("chunk", config.chunk);
    }
  };

  template <class Scalar>
  struct Params {
    Weight<Scalar> w_z;        // [D x C]
    Weight<Scalar> w_x;        // [D x C]
    Matrix<Scalar> conv;       // [taps x C]; the last tap multiplies the current row
    Matrix<Scalar> conv_bias;  // [1 x C]
    Weight<Scalar> w_low;      // [C x R]
    Weight<Scalar> w_b;        // [C x groups N]
    Weight<Scalar> w_c;        // [C x groups N]
    Weight<Scalar> w_dt;       // [R x C]
    Matrix<Scalar> dt_bias;    // [1 x C]
    Matrix<Scalar> a_log;      // [N x C]
    Matrix<Scalar> d;          // [1 x C]
    Weight<Scalar> w_o;        // [C x D]

    Params() = default;
    Params(const Shape& shape, const Config& config) {
      const Index D = shape.width, C = channels(shape, config), R = dt_rank(shape, config), N = config.state_width;
      w_z.resize(D, C), w_x.resize(D, C), conv.resize(config.taps, C), conv_bias.resize(1, C);
      w_low.resize(C, R), w_b.resize(C, config.groups * N), w_c.resize(C, config.groups * N);
      w_dt.resize(R, C), dt_bias.resize(1, C), a_log.resize(N, C), d.resize(1, C), w_o.resize(C, D);
    }
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("w_z", Role::matrix, p.w_z...);
      f("w_x", Role::matrix, p.w_x...);
      f("conv", Role::state, p.conv...);
      f("conv_bias", Role::state, p.conv_bias...);
      f("w_low", Role::matrix, p.w_low...);
      f("w_b", Role::matrix, p.w_b...);
      f("w_c", Role::matrix, p.w_c...);
      f("w_dt", Role::matrix, p.w_dt...);
      f("dt_bias", Role::state, p.dt_bias...);
      f("a_log", Role::state, p.a_log...);
      f("d", Role::state, p.d...);
      f("w_o", Role::output, p.w_o...);
    }
  };

  template <class Scalar>
  struct Cache {
    CachedStates<Scalar> states;  // per slot: h [N x C], then the last taps - 1 rows before the convolution

    Cache(const Shape& shape, const Config& config, const CacheSize& size) : states(size, plan(shape, config).per_state) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      f("states", c.states...);
    }
  };
  static CachePlan plan(const Shape& shape, const Config& config) {
    return {.per_state = channels(shape, config) * (config.state_width + config.taps - 1)};
  }

  /// S = exp(dt a) S + dt b u and c S, for every channel; and the convolution
  static Index flops(const Shape& shape, const Config& config, Index) {
    return channels(shape, config) * (6 * config.state_width + 2 * config.taps);
  }

  template <class Scalar>
  struct Record {
    // The results of the lines above, each as the formula names it; _in: before its convolution, or its softplus.
    struct Values {
      MutableView<Scalar> z, u_in, u, low, b, c, dt_in, dt, a, s, out;
      HeadTable<Scalar*> kept;  // the states between chunks
    };
    std::optional<Values> values;
  };

  static void check(const Shape& shape, const Config& config, std::string_view layer) {
    detail::expects_size(layer, "inner_width", config.inner_width, 0);
    detail::expects_size(layer, "state_width", config.state_width, 1);
    detail::expects_size(layer, "dt_rank", config.dt_rank, 0);
    detail::expects_size(layer, "taps", config.taps, 1);
    detail::expects_size(layer, "chunk", config.chunk, 1);
    HEED_EXPECTS(ConfigError, config.groups >= 1 && channels(shape, config) % config.groups == 0, layer,
                 ": groups: expected a divisor of the ", channels(shape, config), " channels, found ", config.groups);
  }
  static Index scratch_per_row(const Shape& shape, const Config& config) {
    const Index C = channels(shape, config), N = config.state_width;
    return 20 * C + C * N + 4 * dt_rank(shape, config) + 6 * config.groups * N +
           selective_scan_partials(C, config.groups) * N;
  }
  template <class Scalar>
  static std::size_t job_bytes(const Shape& shape, const Config& config, const CallSize& size) {
    return selective_scan_job_bytes<Scalar>(size.rows, config.chunk, channels(shape, config), config.state_width);
  }

  /// Projections by role, but w_dt ~ U(+-1/sqrt(R)); conv ~ U(+-1/sqrt(taps)); the step starts log-uniform in [0.001, 0.1],
  /// at least 0.0001; a_n = -n for n = 1 ... N; d = 1.
  template <class Scalar>
  static void initialise(const Shape& shape, const Config& config, Params<Scalar>& params, const Initialiser& initialiser) {
    heed::visit([&](std::string_view tensor, Role role, Matrix<Scalar>& t) { initialiser.by_role(tensor, role, t); },
                params);
    const double spread = 1 / std::sqrt(static_cast<double>(dt_rank(shape, config)));
    initialiser.random("w_dt").uniform(params.w_dt, -spread, spread);
    start_convolution(params.conv, config.taps, initialiser.random("conv"));
    start_convolution(params.conv_bias, config.taps, initialiser.random("conv_bias"));
    start_steps(params.dt_bias, initialiser.random("dt_bias"));
    for (Index n = 0; n < config.state_width; ++n)
      params.a_log.row(n).setConstant(static_cast<Scalar>(std::log(static_cast<double>(n + 1))));
    params.d.setOnes();
  }

  template <class Scalar>
  static void apply(const Call<SelectiveState, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> y) {
    const Pass& pass = call.pass;
    const Params<Scalar>& p = call.params;
    const Index T = x.rows(), C = p.d.cols(), N = call.config.state_width;
    const StateBlocks state{.offset = 0, .size = N * C};
    Arena& arena = pass.record();
    call.record.values.emplace(typename Record<Scalar>::Values{
        .z = arena.zeros<Scalar>(T, C),
        .u_in = arena.zeros<Scalar>(T, C),
        .u = arena.matrix<Scalar>(T, C),
        .low = arena.zeros<Scalar>(T, p.w_low.cols()),
        .b = arena.zeros<Scalar>(T, p.w_b.cols()),
        .c = arena.zeros<Scalar>(T, p.w_c.cols()),
        .dt_in = arena.zeros<Scalar>(T, C),
        .dt = arena.matrix<Scalar>(T, C),
        .a = arena.matrix<Scalar>(N, C),
        .s = arena.matrix<Scalar>(T, C),
        .out = arena.matrix<Scalar>(T, C),
        .kept = room_for_kept_states<Scalar>(
            pass, state, [&](Index rows) { return selective_scan_kept_states(rows, call.config.chunk); }),
    });
    auto& v = *call.record.values;
    linear(x, p.w_z, v.z, pass.workers);
    linear(x, p.w_x, v.u_in, pass.workers);
    convolve(pass, conv_of(call), call.cache.states, state.size, v.u);
    linear(v.u, p.w_b, v.b, pass.workers);
    linear(v.u, p.w_c, v.c, pass.workers);
    linear(v.u, p.w_low, v.low, pass.workers);
    linear(v.low, p.w_dt, v.dt_in, pass.workers);
    time_step(view_of(v.dt_in), view_of(p.dt_bias), v.dt, pass.workers);
    decay_rate(view_of(p.a_log), v.a);

    for_each_piece(pass, [&](const Piece& piece) {
      const StateTables<Scalar> h(piece, call.cache.states, state, pass.scratch);
      selective_scan(scan_of(call), piece.rows, SelectiveScanStates<Scalar>{h.before, h.after, v.kept}, v.s, pass.workers);
    });
    glu<Silu>(v.z, v.s, v.out, pass.workers);
    linear(v.out, p.w_o, y, pass.workers);
  }

  template <class Scalar>
  static void backward(const Call<SelectiveState, Scalar>& call, const View<Scalar>& x, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>& g) {
    const Pass& pass = call.pass;
    const Params<Scalar>& p = call.params;
    const auto& v = *call.record.values;
    const Index T = x.rows(), C = p.d.cols();
    const Arena::Scope scope(pass.scratch);
    const auto zeros = [&](Index rows, Index cols) { return pass.scratch.template zeros<Scalar>(rows, cols); };
    MutableView<Scalar> d_out = zeros(T, C), d_s = zeros(T, C), d_z = zeros(T, C), d_u = zeros(T, C), d_u_in = zeros(T, C);
    MutableView<Scalar> d_dt = zeros(T, C), d_dt_in = zeros(T, C), d_low = zeros(T, v.low.cols());
    MutableView<Scalar> d_b = zeros(T, v.b.cols()), d_c = zeros(T, v.c.cols()), d_a = zeros(v.a.rows(), C);

    // y += out w_o
    linear_backward(v.out, p.w_o, d_y, d_out, g.w_o, pass.workers);
    // out = s * silu(z)
    glu_backward<Silu>(v.z, v.s, d_out, d_z, d_s, pass.workers);
    // s_t = sum_n c_tn h_tn + d u_t,   h_tn = exp(dt_t a_n) h_{t-1,n} + dt_t u_t b_tn
    selective_scan_backward(scan_of(call), pass.rows, v.kept, view_of(d_s),
                            SelectiveScanGradients<Scalar>{d_u, d_dt, d_a, d_b, d_c, mutable_view_of(g.d)}, pass.scratch,
                            pass.workers);
    // a = -exp(a_log),   dt = softplus(dt_in + dt_bias)
    decay_rate_backward(view_of(v.a), view_of(d_a), mutable_view_of(g.a_log));
    time_step_backward(view_of(v.dt_in), view_of(p.dt_bias), view_of(d_dt), d_dt_in, mutable_view_of(g.dt_bias),
                       pass.scratch, pass.workers);
    // dt_in = low w_dt,   low = u w_low,   c = u w_c,   b = u w_b
    linear_backward(v.low, p.w_dt, d_dt_in, d_low, g.w_dt, pass.workers);
    linear_backward(v.u, p.w_low, d_low, d_u, g.w_low, pass.workers);
    linear_backward(v.u, p.w_c, d_c, d_u, g.w_c, pass.workers);
    linear_backward(v.u, p.w_b, d_b, d_u, g.w_b, pass.workers);
    // u = conv(u_in)
    short_conv_backward(conv_of(call), pass.rows, view_of(d_u),
                        ShortConvGradients<Scalar>{d_u_in, mutable_view_of(g.conv), mutable_view_of(g.conv_bias)},
                        pass.workers);
    // u_in = x w_x,   z = x w_z
    linear_backward(x, p.w_x, d_u_in, d_x, g.w_x, pass.workers);
    linear_backward(x, p.w_z, d_z, d_x, g.w_z, pass.workers);
  }

 private:
  static Index channels(const Shape& shape, const Config& config) {
    return shape.heads.count == 0 ? 0 : config.inner_width > 0 ? config.inner_width : shape.o_width();
  }
  static Index dt_rank(const Shape& shape, const Config& config) {
    return config.dt_rank > 0 ? config.dt_rank : (shape.width + 15) / 16;
  }

  template <class Scalar>
  static ShortConvInputs<Scalar> conv_of(const Call<SelectiveState, Scalar>& call) {
    return {view_of(call.record.values->u_in), view_of(call.params.conv), view_of(call.params.conv_bias)};
  }
  template <class Scalar>
  static SelectiveScanInputs<Scalar> scan_of(const Call<SelectiveState, Scalar>& call) {
    const auto& v = *call.record.values;
    return {.x = view_of(v.u),
            .dt = view_of(v.dt),
            .a = view_of(v.a),
            .b = view_of(v.b),
            .c = view_of(v.c),
            .d = view_of(call.params.d),
            .groups = call.config.groups,
            .chunk = call.config.chunk};
  }
};

}  // namespace heed::inline HEED_ABI
