// The Transformer block, pre-norm:
//
//   h ── + mixer(norm(h)) ── + feed_forward(norm(h)) ──>        h [T x D]
//
// Source: Xiong et al. 2020 (arXiv 2002.04745), section 3.2.
#pragma once

#include "../mixers/initialise.hpp"
#include "../mixers/reach.hpp"
#include "feed_forward.hpp"
#include "norm.hpp"

namespace heed::inline HEED_ABI {

template <class Mixer_, class FeedForward_ = SwiGlu, class Norm_ = RmsNorm>
struct Block {
  static_assert(
      heed::Mixer<Mixer_>,
      "heed: Block<M> needs a mixer M: a struct with consumes, publishes, Config and plan (see heed/mixers/mixer.hpp)");
  using Mixer = Mixer_;
  using FeedForward = FeedForward_;
  using Norm = Norm_;
  using consumes = typename Mixer::consumes;
  using publishes = typename Mixer::publishes;

  struct Config {
    typename Mixer::Config mixer = {};
    typename FeedForward::Config feed_forward = {};
    typename Norm::Config norm = {};
  };

  template <class Scalar>
  struct Params {
    typename Norm::template Params<Scalar> norm;
    typename Mixer::template Params<Scalar> mixer;
    typename Norm::template Params<Scalar> feed_forward_norm;
    typename FeedForward::template Params<Scalar> feed_forward;

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : norm(shape, config.norm),
          mixer(shape, config.mixer),
          feed_forward_norm(shape, config.norm),
          feed_forward(shape, config.feed_forward) {}
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      heed::visit(prefixed("norm", f), p.norm...);
      heed::visit(prefixed("mixer", f), p.mixer...);
      heed::visit(prefixed("feed_forward_norm", f), p.feed_forward_norm...);
      heed::visit(prefixed("feed_forward", f), p.feed_forward...);
    }
  };

  template <class Scalar>
  struct Cache {
    typename Mixer::template Cache<Scalar> mixer;

    Cache(const Shape& shape, const Config& config, const CacheSize& size) : mixer(shape, config.mixer, size) {}
    template <class F, class... C>
    static void visit(F&& f, C&&... c) {
      heed::visit(f, c.mixer...);
    }
  };
  static CachePlan plan(const Shape& shape, const Config& config) { return Mixer::plan(shape, config.mixer); }

  template <class Scalar>
  struct Record {
    const Scalar* h = nullptr;        // [T x D] before the mixer
    const Scalar* a = nullptr;        // [T x D] norm(h)
    const Scalar* h_mixed = nullptr;  // [T x D] after the mixer
    const Scalar* b = nullptr;        // [T x D] norm(h_mixed)
    typename Mixer::template Record<Scalar> mixer;
    typename FeedForward::template Record<Scalar> feed_forward;
  };

  template <class Scalar>
  static void initialise(const Shape& shape, const Config& config, Params<Scalar>& params, const Initialiser& initialiser) {
    initialiser.run<Norm>("norm", shape, config.norm, params.norm);
    initialiser.run<Mixer>("mixer", shape, config.mixer, params.mixer);
    initialiser.run<Norm>("feed_forward_norm", shape, config.norm, params.feed_forward_norm);
    initialiser.run<FeedForward>("feed_forward", shape, config.feed_forward, params.feed_forward);
  }

  template <class Scalar>
  static void apply(const Call<Block, Scalar>& call, MutableView<Scalar> h) {
    const auto& [norm, mixer, feed_forward_norm, feed_forward] = call.params;
    Record<Scalar>& record = call.record;
    record.h = remember(call.pass, h);
    const View<Scalar> a = normed(call, norm, h);
    Mixer::template apply<Scalar>(mixer_of(call), a, h);

    record.h_mixed = remember(call.pass, h);
    const View<Scalar> b = normed(call, feed_forward_norm, h);
    FeedForward::template apply<Scalar>(call.config.feed_forward, feed_forward, record.feed_forward, call.pass, b, h);
    record.a = a.data();
    record.b = b.data();
  }

  /// d_h [T x D]: comes in as the gradient of what went out, goes out as the gradient of what came in.
  template <class Scalar>
  static void backward(const Call<Block, Scalar>& call, MutableView<Scalar> d_h, Params<Scalar>& gradients) {
    const Pass& pass = call.pass;
    const auto& [norm, mixer, feed_forward_norm, feed_forward] = call.params;
    const Record<Scalar>& record = call.record;
    const auto rows = [&](const Scalar* data) { return view_of(data, d_h.rows(), d_h.cols(), d_h.cols()); };  // [T x D]
    {
      const Arena::Scope scope(pass.scratch);
      MutableView<Scalar> d_b = pass.scratch.template zeros<Scalar>(d_h.rows(), d_h.cols());  // [T x D]
      // h += feed_forward(b)
      FeedForward::template backward<Scalar>(call.config.feed_forward, feed_forward, record.feed_forward, pass,
                                             rows(record.b), view_of(d_h), d_b, gradients.feed_forward);
      // b = norm(h)
      Norm::template backward<Scalar>(call.config.norm, feed_forward_norm, pass, rows(record.h_mixed), view_of(d_b), d_h,
                                      gradients.feed_forward_norm);
    }
    const Arena::Scope scope(pass.scratch);
    MutableView<Scalar> d_a = pass.scratch.template zeros<Scalar>(d_h.rows(), d_h.cols());  // [T x D]
    // h += mixer(a)
    Mixer::template backward<Scalar>(mixer_of(call), rows(record.a), view_of(d_h), d_a, gradients.mixer);
    // a = norm(h)
    Norm::template backward<Scalar>(call.config.norm, norm, pass, rows(record.h), view_of(d_a), d_h, gradients.norm);
  }

  static LayerSignals signals(const Config& config) { return signals_of<Mixer>(config.mixer); }
  template <class Scalar>
  static std::span<const SignalInfo> infos(const Config& config) {
    return signal_infos_of<Mixer, Scalar>(config.mixer);
  }
  static void check(const Shape& shape, const Config& config, std::string_view layer) {
    check_config<Mixer>(shape, config.mixer, layer);
  }
  static bool sees_ahead(const Config& config) { return heed::sees_ahead<Mixer>(config.mixer); }
  static Index scratch_per_row(const Shape& shape, const Config& config) {
    return heed::scratch_per_row<Mixer>(shape, config.mixer);
  }
  template <class Scalar>
  static std::size_t job_bytes(const Shape& shape, const Config& config, const CallSize& size) {
    return heed::job_bytes<Mixer, Scalar>(shape, config.mixer, size);
  }
  template <class AnyRecord>
  static void prepare_record(const Config& config, AnyRecord& record) {
    heed::prepare_record<Mixer>(config.mixer, record.mixer);
  }
  static std::string describe(const Config& config) { return heed::describe<Mixer>(config.mixer); }
  static void mark_published(std::string_view signal, Alignment alignment, const Shape& shape, const Config& config,
                             std::span<unsigned char> heads) {
    heed::mark_published<Mixer>(signal, alignment, shape, config.mixer, heads);
  }
  static void mark_read(const TapInfo& tap, Alignment alignment, const Shape& shape, const Config& config,
                        std::span<unsigned char> heads) {
    heed::mark_read<Mixer>(tap, alignment, shape, config.mixer, heads);
  }

 private:
  // A copy of h for backward; at inference h itself will do.
  template <class Scalar>
  static const Scalar* remember(const Pass& pass, const MutableView<Scalar>& h) {
    if (!pass.training()) return h.data();
    MutableView<Scalar> copy = pass.kept.template matrix<Scalar>(h.rows(), h.cols());
    copy = h;
    return copy.data();
  }
  template <class Scalar>
  static View<Scalar> normed(const Call<Block, Scalar>& call, const typename Norm::template Params<Scalar>& norm,
                             const MutableView<Scalar>& h) {
    MutableView<Scalar> y = call.pass.record().template matrix<Scalar>(h.rows(), h.cols());  // [T x D]
    Norm::template apply<Scalar>(call.config.norm, norm, call.pass, view_of(h), y);
    return view_of(y);
  }
  template <class Scalar>
  static Call<Mixer, Scalar> mixer_of(const Call<Block, Scalar>& call) {
    return {call.shape,   call.config.mixer, call.params.mixer, call.inputs,
            call.outputs, call.cache.mixer,  call.record.mixer, call.pass};
  }
};

}  // namespace heed::inline HEED_ABI
