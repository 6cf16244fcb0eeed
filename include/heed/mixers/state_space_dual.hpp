// Mamba-2 heads: a recurrence with constant memory in place of attention.
//
//   u = conv(x W_x)   b = conv(x W_b)   c = conv(x W_c)   z = x W_z       conv: short, causal, per channel, then SiLU
//   dt = softplus(x W_dt + dt_bias)     a = -exp(a_log)                   one step and one decay a head
//   S_t = exp(dt_t a) S_{t-1} + dt_t b_t^T u_t                            per head, S [N x P], P = E_v
//   s_t = c_t S_t + d u_t
//   y += RMSNorm(s * silu(z)) W_o                                         in groups of H P / groups columns
//
//   x, y [T x D]   u, z, s [T x H P]   b, c [T x groups N]   dt [T x H]
// A head of the layer is a head of the recurrence: P is the value width E_v, so that W_o keeps its shape.
// Source: Dao and Gu 2024 (arXiv 2405.21060), section 7; in place of attention heads: Yan et al. 2024 (arXiv 2410.12850).
#pragma once

#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "../core/config_numbers.hpp"
#include "../ops/gated_rms_norm.hpp"
#include "../ops/linear.hpp"
#include "../ops/ssd.hpp"
#include "../ops/time_step.hpp"
#include "initialise.hpp"
#include "mixer.hpp"
#include "reach.hpp"
#include "recurrence.hpp"

namespace heed::inline HEED_ABI {

/// What has a weight d of its own.
enum class Skip { by_head, by_channel };
constexpr std::array<std::pair<std::string_view, Skip>, 2> value_names(Skip) {
  return {{{"by_head", Skip::by_head}, {"by_channel", Skip::by_channel}}};
}

struct StateSpaceDual {
  static constexpr std::string_view name = "state space dual";
  using consumes = signals<>;
  using publishes = signals<>;

  struct Config {
    Index state_width = 64;  // N
    Index groups = 1;        // of b and c: head h reads group floor(h groups / H)
    Index taps = 4;          // of the convolution
    Index chunk = 64;        // rows computed at once; the result does not depend on it but for rounding
    double epsilon = 1e-5;   // of the norm
    Gating gating = Gating::before_norm;
    StepLimits dt_limits = {};
    Skip skip = Skip::by_head;

    template <class F, class C>
    static void fields(F&& f, C& config) {
      f("state_width", config.state_width);
      f("groups", config.groups);
      f("taps", config.taps);
      f("chunk", config.chunk);
      f("epsilon", config.epsilon);
      f("gating", config.gating);
      f("dt_limits", config.dt_limits);
      f("skip", config.skip);
    }
  };

  template <class Scalar>
  struct Params {
    Weight<Scalar> w_z;          // [D x H P]
    Weight<Scalar> w_x;          // [D x H P]
    Weight<Scalar> w_b;          // [D x groups N]
    Weight<Scalar> w_c;          // [D x groups N]
    Weight<Scalar> w_dt;         // [D x H]
    Matrix<Scalar> conv_x;       // [taps x H P]; the last tap multiplies the current row
    Matrix<Scalar> conv_x_bias;  // [1 x H P]
    Matrix<Scalar> conv_b;       // [taps x groups N]
    Matrix<Scalar> conv_b_bias;  // [1 x groups N]
    Matrix<Scalar> conv_c;       // [taps x groups N]
    Matrix<Scalar> conv_c_bias;  // [1 x groups N]
    Matrix<Scalar> dt_bias;      // [1 x H]
    Matrix<Scalar> a_log;        // [1 x H]
    Matrix<Scalar> d;            // [1 x H] or [1 x H P]
    Matrix<Scalar> norm;         // [1 x H P]; absent without a norm
    Weight<Scalar> w_o;          // [H P x D]

    Params() = default;
    Params(const Shape& shape, const Config& config) {
      const Index D = shape.width;
      const Index H = shape.heads.count;
      const Index inner = shape.o_width();
      const Index state = group_width(shape, config);
      w_z.resize(D, inner), w_x.resize(D, inner), w_b.resize(D, state), w_c.resize(D, state), w_dt.resize(D, H);
      conv_x.resize(config.taps, inner), conv_b.resize(config.taps, state), conv_c.resize(config.taps, state);
      conv_x_bias.resize(1, inner), conv_b_bias.resize(1, state), conv_c_bias.resize(1, state);
      dt_bias.resize(1, H), a_log.resize(1, H), d.resize(1, config.skip == Skip::by_head ? H : inner);
      if (config.gating != Gating::without_norm) norm.resize(1, inner);
      w_o.resize(inner, D);
    }
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      f("w_z", Role::matrix, p.w_z...);
      f("w_x", Role::matrix, p.w_x...);
      f("w_b", Role::matrix, p.w_b...);
      f("w_c", Role::matrix, p.w_c...);
      f("w_dt", Role::matrix, p.w_dt...);
      f("conv_x", Role::state, p.conv_x...);
      f("conv_x_bias", Role::state, p.conv_x_bias...);
      f("conv_b", Role::state, p.conv_b...);
      f("conv_b_bias", Role::state, p.conv_b_bias...);
      f("conv_c", Role::state, p.conv_c...);
      f("conv_c_bias", Role::state, p.conv_c_bias...);
      f("dt_bias", Role::state, p.dt_bias...);
      f("a_log", Role::state, p.a_log...);
      f("d", Role::state, p.d...);
      visit_if_present(f, "norm", Role::norm, p.norm...);
      f("w_o", Role::output, p.w_o...);
    }
  };

  template <class Scalar>
  struct Cache {
    CachedStates<Scalar>
        states;  // per slot: S of every head [H x N x P], then the last taps - 1 rows before each convolution

    Cache(const Shape& shape, const Config& config, const CacheSize& size) : states(size, plan(shape, config).per_state) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      f("states", c.states...);
    }
  };
  static CachePlan plan(const Shape& shape, const Config& config) {
    const Index channels = shape.o_width() + 2 * group_width(shape, config);
    return {.per_state = shape.o_width() * config.state_width + (config.taps - 1) * channels};
  }

  /// S = exp(dt a) S + dt b^T u and c S, for every head; and the convolutions of u, b and c
  static Index flops(const Shape& shape, const Config& config, Index) {
    const Index channels = shape.o_width(), N = config.state_width;
    return 5 * channels * N + 2 * config.taps * (channels + 2 * config.groups * N);
  }

  template <class Scalar>
  struct Record {
    // The results of the lines above, each as the formula names it; _in: before its convolution.
    struct Values {
      MutableView<Scalar> z, u_in, b_in, c_in, dt_in, u, b, c, dt, a, s, out;
      HeadTable<Scalar*> kept;  // the states between chunks
    };
    std::optional<Values> values;
  };

  static void check(const Shape& shape, const Config& config, std::string_view layer) {
    detail::expects_size(layer, "state_width", config.state_width, 1);
    detail::expects_size(layer, "taps", config.taps, 1);
    detail::expects_size(layer, "chunk", config.chunk, 1);
    detail::expects_epsilon(layer, "epsilon", config.epsilon);
    HEED_EXPECTS(ConfigError, config.dt_limits.least >= 0, layer, ": dt_limits.least: expected 0 or more, found ",
                 config.dt_limits.least);
    HEED_EXPECTS(ConfigError, config.dt_limits.most == 0 || config.dt_limits.most > config.dt_limits.least, layer,
                 ": dt_limits.most: expected more than ", config.dt_limits.least, ", or 0 for no limit, found ",
                 config.dt_limits.most);
    HEED_EXPECTS(ConfigError, config.groups >= 1 && shape.heads.count % config.groups == 0, layer,
                 ": groups: expected a divisor of the ", shape.heads.count, " recurrent heads, found ", config.groups);
  }
  static Index scratch_per_row(const Shape& shape, const Config& config) {
    return 8 * shape.o_width() + 8 * group_width(shape, config) + 8 * shape.heads.count +
           ssd_backward_per_row(shape.heads.count, config.groups, config.state_width);
  }
  template <class Scalar>
  static std::size_t job_bytes(const Shape& shape, const Config& config, const CallSize& size) {
    return ssd_job_bytes<Scalar>(size.rows, config.chunk, shape.value_width, config.state_width);
  }

  /// Projections by role; conv ~ U(+-1/sqrt(taps)); the step starts log-uniform in [0.001, 0.1], at least 0.0001; a ~ -U(1,
  /// 16); d = 1.
  template <class Scalar>
  static void initialise(const Shape&, const Config& config, Params<Scalar>& params, const Initialiser& initialiser) {
    const auto visit_each = [&](std::string_view tensor_name, Role role, Matrix<Scalar>& tensor) {
      Random random = initialiser.random(tensor_name);
      if (tensor_name.substr(0, 4) == "conv") {
        start_convolution(tensor, config.taps, random);
      } else if (tensor_name == "dt_bias") {
        start_steps(tensor, random);
      } else if (tensor_name == "a_log") {
        for (Index h = 0; h < tensor.size(); ++h) tensor(0, h) = static_cast<Scalar>(std::log(random.uniform(1, 16)));
      } else if (tensor_name == "d") {
        tensor.setOnes();
      } else {
        initialiser.by_role(tensor_name, role, tensor);
      }
    };
    heed::visit(visit_each, params);
  }

  template <class Scalar>
  static void apply(const Call<StateSpaceDual, Scalar>& call, const View<Scalar>& x, MutableView<Scalar> y) {
    const Pass& pass = call.pass;
    const Params<Scalar>& p = call.params;
    const Index T = x.rows();
    const Index H = call.shape.heads.count;
    const Index inner = call.shape.o_width();
    const Index state = group_width(call.shape, call.config);
    const StateBlocks heads = head_states(call.shape, call.config);
    Arena& arena = pass.record();
    call.record.values.emplace(typename Record<Scalar>::Values{
        .z = arena.zeros<Scalar>(T, inner),
        .u_in = arena.zeros<Scalar>(T, inner),
        .b_in = arena.zeros<Scalar>(T, state),
        .c_in = arena.zeros<Scalar>(T, state),
        .dt_in = arena.zeros<Scalar>(T, H),
        .u = arena.matrix<Scalar>(T, inner),
        .b = arena.matrix<Scalar>(T, state),
        .c = arena.matrix<Scalar>(T, state),
        .dt = arena.matrix<Scalar>(T, H),
        .a = arena.matrix<Scalar>(1, H),
        .s = arena.matrix<Scalar>(T, inner),
        .out = arena.matrix<Scalar>(T, inner),
        .kept =
            room_for_kept_states<Scalar>(pass, heads, [&](Index rows) { return ssd_kept_states(rows, call.config.chunk); }),
    });
    auto& v = *call.record.values;
    linear(x, p.w_z, v.z, pass.workers);
    linear(x, p.w_x, v.u_in, pass.workers);
    linear(x, p.w_b, v.b_in, pass.workers);
    linear(x, p.w_c, v.c_in, pass.workers);
    linear(x, p.w_dt, v.dt_in, pass.workers);

    const Index history = call.config.taps - 1, conv_at = heads.count * heads.size;
    CachedStates<Scalar>& states = call.cache.states;
    convolve(pass, conv(v.u_in, p.conv_x, p.conv_x_bias), states, conv_at, v.u);
    convolve(pass, conv(v.b_in, p.conv_b, p.conv_b_bias), states, conv_at + history * inner, v.b);
    convolve(pass, conv(v.c_in, p.conv_c, p.conv_c_bias), states, conv_at + history * (inner + state), v.c);
    time_step(view_of(v.dt_in), view_of(p.dt_bias), v.dt, pass.workers, call.config.dt_limits);
    decay_rate(view_of(p.a_log), v.a);

    for_each_piece(pass, [&](const Piece& piece) {
      const StateTables<Scalar> S(piece, states, heads, pass.scratch);
      ssd(inputs_of(call), piece.rows, SsdStates<Scalar>{S.before, S.after, v.kept}, v.s, pass.workers);
    });
    gated_rms_norm(norm_of(call), v.out, pass.workers);
    linear(v.out, p.w_o, y, pass.workers);
  }

  template <class Scalar>
  static void backward(const Call<StateSpaceDual, Scalar>& call, const View<Scalar>& x, const View<Scalar>& d_y,
                       MutableView<Scalar> d_x, Params<Scalar>& g) {
    const Pass& pass = call.pass;
    const Params<Scalar>& p = call.params;
    const auto& v = *call.record.values;
    const Index T = x.rows();
    const Index H = call.shape.heads.count;
    const Index inner = call.shape.o_width();
    const Index state = group_width(call.shape, call.config);
    const Arena::Scope scope(pass.scratch);
    const auto zeros = [&](Index rows, Index cols) { return pass.scratch.template zeros<Scalar>(rows, cols); };
    MutableView<Scalar> d_z = zeros(T, inner);
    MutableView<Scalar> d_u = zeros(T, inner), d_b = zeros(T, state), d_c = zeros(T, state), d_dt = zeros(T, H);
    MutableView<Scalar> d_u_in = zeros(T, inner), d_b_in = zeros(T, state), d_c_in = zeros(T, state), d_dt_in = zeros(T, H);
    MutableView<Scalar> d_a = zeros(1, H), d_s = zeros(T, inner), d_out = zeros(T, inner);

    // y += out w_o
    linear_backward(v.out, p.w_o, d_y, d_out, g.w_o, pass.workers);
    // out = norm(s * silu(z))
    gated_rms_norm_backward(norm_of(call), view_of(d_out), GatedRmsNormGradients<Scalar>{d_s, d_z, mutable_view_of(g.norm)},
                            pass.scratch, pass.workers);
    // s_t = c_t S_t + d u_t,   S_t = exp(dt_t a) S_{t-1} + dt_t b_t^T u_t
    ssd_backward(inputs_of(call), pass.rows, v.kept, view_of(d_s),
                 SsdGradients<Scalar>{d_u, d_dt, d_a, d_b, d_c, mutable_view_of(g.d)}, pass.scratch, pass.workers);
    // a = -exp(a_log),   dt = softplus(dt_in + dt_bias)
    decay_rate_backward(view_of(v.a), view_of(d_a), mutable_view_of(g.a_log));
    time_step_backward(view_of(v.dt_in), view_of(p.dt_bias), view_of(d_dt), d_dt_in, mutable_view_of(g.dt_bias),
                       pass.scratch, pass.workers, call.config.dt_limits);
    // c = conv(c_in),   b = conv(b_in),   u = conv(u_in)
    const auto conv_backward = [&](const ShortConvInputs<Scalar>& in, const MutableView<Scalar>& d_conv,
                                   MutableView<Scalar> d_in, Matrix<Scalar>& d_weight, Matrix<Scalar>& d_bias) {
      short_conv_backward(in, pass.rows, view_of(d_conv),
                          ShortConvGradients<Scalar>{d_in, mutable_view_of(d_weight), mutable_view_of(d_bias)},
                          pass.workers);
    };
    conv_backward(conv(v.c_in, p.conv_c, p.conv_c_bias), d_c, d_c_in, g.conv_c, g.conv_c_bias);
    conv_backward(conv(v.b_in, p.conv_b, p.conv_b_bias), d_b, d_b_in, g.conv_b, g.conv_b_bias);
    conv_backward(conv(v.u_in, p.conv_x, p.conv_x_bias), d_u, d_u_in, g.conv_x, g.conv_x_bias);
    // dt_in = x w_dt,   c_in = x w_c,   b_in = x w_b,   u_in = x w_x,   z = x w_z
    linear_backward(x, p.w_dt, d_dt_in, d_x, g.w_dt, pass.workers);
    linear_backward(x, p.w_c, d_c_in, d_x, g.w_c, pass.workers);
    linear_backward(x, p.w_b, d_b_in, d_x, g.w_b, pass.workers);
    linear_backward(x, p.w_x, d_u_in, d_x, g.w_x, pass.workers);
    linear_backward(x, p.w_z, d_z, d_x, g.w_z, pass.workers);
  }

 private:
  // groups N; without heads there is nothing to share.
  static Index group_width(const Shape& shape, const Config& config) {
    return shape.heads.count == 0 ? 0 : config.groups * config.state_width;
  }

  // S of every head, at the beginning of a slot.
  static StateBlocks head_states(const Shape& shape, const Config& config) {
    return {.offset = 0, .count = shape.heads.count, .size = config.state_width * shape.value_width};
  }

  template <class Scalar>
  static ShortConvInputs<Scalar> conv(const MutableView<Scalar>& in, const Matrix<Scalar>& weight,
                                      const Matrix<Scalar>& bias) {
    return {view_of(in), view_of(weight), view_of(bias)};
  }
  template <class Scalar>
  static SsdInputs<Scalar> inputs_of(const Call<StateSpaceDual, Scalar>& call) {
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
  template <class Scalar>
  static GatedRmsNormInputs<Scalar> norm_of(const Call<StateSpaceDual, Scalar>& call) {
    const auto& v = *call.record.values;
    return {view_of(v.s),       view_of(v.z),        view_of(call.params.norm),
            call.config.groups, call.config.epsilon, call.config.gating};
  }
};

}  // namespace heed::inline HEED_ABI
