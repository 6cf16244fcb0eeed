// The Transformer block: a mixer and a feed-forward, joined to the stream of rows h [T x D] in one of four forms.
//
//   PreNorm         h = h + f(norm(h))                                            first f = mixer, then f = feed_forward
//   PostNorm        h = norm(h + f(h))
//   Sandwich        h = h + norm_out(f(norm(h)))
//   ParallelForm    h = h + mixer(norm(h)) + feed_forward(norm(h))
//
// block_forms.hpp draws them and names their sources.
#pragma once

#include "../mixers/initialise.hpp"
#include "../mixers/reach.hpp"
#include "block_forms.hpp"
#include "feed_forward.hpp"
#include "norm.hpp"

namespace heed::inline HEED_ABI {

template <class Mixer_, class FeedForward_ = SwiGlu, class Norm_ = RmsNorm, class Form_ = PreNorm>
struct Block {
  static_assert(
      heed::Mixer<Mixer_>,
      "heed: Block<M> needs a mixer M: a struct with consumes, publishes, Config and plan (see heed/mixers/mixer.hpp)");
  using Mixer = Mixer_;
  using FeedForward = FeedForward_;
  using Norm = Norm_;
  using Form = Form_;
  using consumes = typename Mixer::consumes;
  using publishes = typename Mixer::publishes;

  struct Config {
    typename Mixer::Config mixer = {};
    typename FeedForward::Config feed_forward = {};
    typename Norm::Config norm = {};
  };

 private:
  // A joint form has one norm, a block without a feed-forward has none for it, and few forms have norms behind.
  static constexpr bool no_feed_forward = std::same_as<FeedForward, NoFeedForward>;
  using FeedForwardNorm = std::conditional_t<Form::joint || no_feed_forward, NoNorm, Norm>;
  using MixerOutNorm = std::conditional_t<Form::norms_out, Norm, NoNorm>;
  using FeedForwardOutNorm = std::conditional_t<no_feed_forward, NoNorm, MixerOutNorm>;

 public:
  template <class Scalar>
  struct Params {
    static_assert(
        FeedForwardOf<FeedForward, Scalar>,
        "heed: the feed-forward of a Block lacks Config, copyable Params<Scalar>, Record<Scalar>, apply or backward (see "
        "heed/model/feed_forward.hpp)");
    static_assert(
        NormOf<Norm, Scalar>,
        "heed: the norm of a Block lacks Config, copyable Params<Scalar>, apply or backward (see heed/model/norm.hpp)");

    typename Norm::template Params<Scalar> norm;
    typename Mixer::template Params<Scalar> mixer;
    typename MixerOutNorm::template Params<Scalar> mixer_out_norm;
    typename FeedForwardNorm::template Params<Scalar> feed_forward_norm;
    typename FeedForward::template Params<Scalar> feed_forward;
    typename FeedForwardOutNorm::template Params<Scalar> feed_forward_out_norm;

    Params() = default;
    Params(const Shape& shape, const Config& config)
        : norm(shape, config.norm),
          mixer(shape, config.mixer),
          mixer_out_norm(shape, norm_config<MixerOutNorm>(config)),
          feed_forward(shape, config.feed_forward) {
      if (is_absent<FeedForward>(config.feed_forward)) return;
      feed_forward_norm = {shape, norm_config<FeedForwardNorm>(config)};
      feed_forward_out_norm = {shape, norm_config<FeedForwardOutNorm>(config)};
    }
    template <class F, class... P>
    static void visit(F&& f, P&&... p) {
      heed::visit(prefixed("norm", f), p.norm...);
      heed::visit(prefixed("mixer", f), p.mixer...);
      heed::visit(prefixed("mixer_out_norm", f), p.mixer_out_norm...);
      heed::visit(prefixed("feed_forward_norm", f), p.feed_forward_norm...);
      heed::visit(prefixed("feed_forward", f), p.feed_forward...);
      heed::visit(prefixed("feed_forward_out_norm", f), p.feed_forward_out_norm...);
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
    BranchRecord<Scalar> mixer_branch;
    BranchRecord<Scalar> feed_forward_branch;
    typename Mixer::template Record<Scalar> mixer;
    typename FeedForward::template Record<Scalar> feed_forward;
  };

  template <class Scalar>
  static void initialise(const Shape& shape, const Config& config, Params<Scalar>& params, const Initialiser& initialiser) {
    initialiser.run<Norm>("norm", shape, config.norm, params.norm);
    initialiser.run<Mixer>("mixer", shape, config.mixer, params.mixer);
    initialiser.run<MixerOutNorm>("mixer_out_norm", shape, norm_config<MixerOutNorm>(config), params.mixer_out_norm);
    if (is_absent<FeedForward>(config.feed_forward)) return;
    initialiser.run<FeedForwardNorm>("feed_forward_norm", shape, norm_config<FeedForwardNorm>(config),
                                     params.feed_forward_norm);
    initialiser.run<FeedForward>("feed_forward", shape, config.feed_forward, params.feed_forward);
    initialiser.run<FeedForwardOutNorm>("feed_forward_out_norm", shape, norm_config<FeedForwardOutNorm>(config),
                                        params.feed_forward_out_norm);
  }

  template <class Scalar>
  static void apply(const Call<Block, Scalar>& call, MutableView<Scalar> h) {
    const auto mixer = [&](const View<Scalar>& x, MutableView<Scalar> y) {
      Mixer::template apply<Scalar>(mixer_of(call), x, y);
    };
    const auto feed_forward = [&](const View<Scalar>& x, MutableView<Scalar> y) {
      FeedForward::template apply<Scalar>(call.config.feed_forward, call.params.feed_forward, call.record.feed_forward,
                                          call.pass, x, y);
    };
    const auto norm = norm_of<Norm>(call, call.params.norm);
    const auto mixer_out = norm_of<MixerOutNorm>(call, call.params.mixer_out_norm);
    if constexpr (Form::joint) {
      const auto both = [&](const View<Scalar>& x, MutableView<Scalar> y) {
        mixer(x, y);
        feed_forward(x, y);
      };
      Form::apply(Branch{call.pass, call.record.mixer_branch, both, norm, mixer_out}, h);
    } else {
      Form::apply(Branch{call.pass, call.record.mixer_branch, mixer, norm, mixer_out}, h);
      if (is_absent<FeedForward>(call.config.feed_forward)) return;
      Form::apply(Branch{call.pass, call.record.feed_forward_branch, feed_forward,
                         norm_of<FeedForwardNorm>(call, call.params.feed_forward_norm),
                         norm_of<FeedForwardOutNorm>(call, call.params.feed_forward_out_norm)},
                  h);
    }
  }

  /// d_h [T x D]: comes in as the gradient of what went out, goes out as the gradient of what came in.
  template <class Scalar>
  static void backward(const Call<Block, Scalar>& call, MutableView<Scalar> d_h, Params<Scalar>& gradients) {
    const auto mixer = [&](const View<Scalar>& x, const View<Scalar>& d_y, MutableView<Scalar> d_x) {
      Mixer::template backward<Scalar>(mixer_of(call), x, d_y, d_x, gradients.mixer);
    };
    const auto feed_forward = [&](const View<Scalar>& x, const View<Scalar>& d_y, MutableView<Scalar> d_x) {
      FeedForward::template backward<Scalar>(call.config.feed_forward, call.params.feed_forward, call.record.feed_forward,
                                             call.pass, x, d_y, d_x, gradients.feed_forward);
    };
    const auto norm = norm_backward_of<Norm>(call, call.params.norm, gradients.norm);
    const auto mixer_out = norm_backward_of<MixerOutNorm>(call, call.params.mixer_out_norm, gradients.mixer_out_norm);
    if constexpr (Form::joint) {
      // y += mixer(x) + feed_forward(x)
      const auto both = [&](const View<Scalar>& x, const View<Scalar>& d_y, MutableView<Scalar> d_x) {
        feed_forward(x, d_y, d_x);
        mixer(x, d_y, d_x);
      };
      Form::backward(Branch{call.pass, call.record.mixer_branch, both, norm, mixer_out}, d_h);
    } else {
      if (!is_absent<FeedForward>(call.config.feed_forward))
        Form::backward(
            Branch{call.pass, call.record.feed_forward_branch, feed_forward,
                   norm_backward_of<FeedForwardNorm>(call, call.params.feed_forward_norm, gradients.feed_forward_norm),
                   norm_backward_of<FeedForwardOutNorm>(call, call.params.feed_forward_out_norm,
                                                        gradients.feed_forward_out_norm)},
            d_h);
      Form::backward(Branch{call.pass, call.record.mixer_branch, mixer, norm, mixer_out}, d_h);
    }
  }

  static LayerSignals signals(const Config& config) { return signals_of<Mixer>(config.mixer); }
  template <class Scalar>
  static std::span<const SignalInfo> infos(const Config& config) {
    return signal_infos_of<Mixer, Scalar>(config.mixer);
  }
  static void check(const Shape& shape, const Config& config, std::string_view layer) {
    check_config<Mixer>(shape, config.mixer, layer);
    check_config<FeedForward>(shape, config.feed_forward, layer);
    check_config<Norm>(shape, config.norm, layer);
  }
  static Index whole_rows(const Config& config) { return heed::whole_rows<Mixer>(config.mixer); }
  static Index kept_per_row(const Shape& shape, const Config& config) {
    return heed::kept_per_row<Mixer>(shape, config.mixer);
  }
  static Index flops(const Shape& shape, const Config& config, Index keys) {
    return heed::flops<Mixer>(shape, config.mixer, keys);
  }
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
    heed::prepare_record<FeedForward>(config.feed_forward, record.feed_forward);
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
  static void count_published(std::string_view signal, Alignment alignment, const Shape& shape, const Config& config,
                              std::span<Index> counts) {
    heed::count_published<Mixer>(signal, alignment, shape, config.mixer, counts);
  }
  static void check_read(const TapInfo& tap, Alignment alignment, const Shape& shape, const Config& config,
                         std::span<const Index> counts, std::string_view layer) {
    heed::check_read<Mixer>(tap, alignment, shape, config.mixer, counts, layer);
  }

 private:
  template <class N>
  static const typename N::Config& norm_config([[maybe_unused]] const Config& config) {
    static const NoNorm::Config none{};
    if constexpr (std::same_as<N, Norm>)
      return config.norm;
    else
      return none;
  }
  template <class N, class Scalar>
  static auto norm_of(const Call<Block, Scalar>& call, const typename N::template Params<Scalar>& params) {
    return [&call, &params](const View<Scalar>& x, MutableView<Scalar> y) {
      N::template apply<Scalar>(norm_config<N>(call.config), params, x, y, call.pass.workers);
    };
  }
  template <class N, class Scalar>
  static auto norm_backward_of(const Call<Block, Scalar>& call, const typename N::template Params<Scalar>& params,
                               typename N::template Params<Scalar>& gradients) {
    return [&](const View<Scalar>& x, const View<Scalar>& d_y, MutableView<Scalar> d_x) {
      N::template backward<Scalar>(norm_config<N>(call.config), params, x, d_y, d_x, gradients, call.pass.scratch,
                                   call.pass.workers);
    };
  }
  template <class Scalar>
  static Call<Mixer, Scalar> mixer_of(const Call<Block, Scalar>& call) {
    return {call.shape,   call.config.mixer, call.params.mixer, call.inputs,
            call.outputs, call.cache.mixer,  call.record.mixer, call.pass};
  }
};

}  // namespace heed::inline HEED_ABI
