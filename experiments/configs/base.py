"""Every field of an experiment, with its unit, its range and its default."""

from ml_collections import ConfigDict

from timedecode.datasets.simulator_settings import Settings


def get_config() -> ConfigDict:
  """The defaults that the other configurations change."""
  config = ConfigDict()
  config.parallel = "none"  # One device; pmap or mesh: all, each with its part
  # of the batch. Results agree up to rounding.
  config.num_devices = 0  # Of pmap and mesh, the first so many; 0: all.
  config.precision = "float32"  # Of large products in training steps, else
  # bfloat16 (see timedecode.precision); evaluations are in float32.
  config.name = "base"  # Label of the run; the dated folder bears it.
  config.seed = 0  # Integer >= 0: parameters, spikes and order of the data.
  config.steps = 2800  # Optimiser steps, >= 1.
  config.batch_size = 64  # Examples per step, >= 1.
  config.num_microbatches = 1  # Parts that a device goes through its examples
  # in, one after the other, >= 1, a divisor of their number: what a gradient
  # stores is that of one. Results agree up to rounding. 1 for baseline batch,
  # and for published without all of averaging, reset and signal.
  config.num_steps = 30  # T, time steps per example, >= 2.
  config.estimator = "straight_through"  # score_function, straight_through,
  # relaxed, arm, disarm, published.
  config.num_samples = 1  # Trains per example in the estimator, >= 1
  # (>= 2 for score_function's samples; even for arm and disarm).
  config.baseline = "samples"  # Of score_function: samples, batch,
  # moving_average or none.
  config.temperature = 1.0  # Of relaxed at the first step, > 0.
  config.final_temperature = 0.3  # At the last step, > 0; geometric between.
  config.repairs = (  # Of published; all together are the paper's rule.
    "averaging", "scale", "reset", "feedback", "signal",
  )  # fmt: skip
  config.credit = "bptt"  # Way of errors to the hidden layers: bptt, local,
  # symmetric or feedback.
  config.remat_every = 0  # Steps between kept states in bptt; 0 keeps all.
  config.online_chunk = 0  # Steps at a time of gradients that are added up
  # along the train (not for bptt; straight_through or score_function); 0:
  # the train is stored.
  config.information = "closed_form"  # Or sampled: the log ratio.
  config.prior = "independent"  # q(y_t | past): independent, rate or glm, the
  # last two learned.
  config.prior_length = 10  # Steps of the past that glm sees, >= 1.
  config.prior_rate = 0.3  # Spike probability per step of the prior, (0, 1).
  config.beta = 1e-3  # Price of information, nats per nat, >= 0.
  config.view = "full"  # What the decoder sees: full, window, rate or
  # first_spike.
  config.window = 10  # Steps of the view `window`, 1 .. T.
  config.view_scale = 0.0  # Factor of the views `rate` and `first_spike`, > 0;
  # 0: their own (4 and 1).
  config.channel_flip = 0.0  # Probability that a spike or a silence is flipped
  # on its way to the decoder, [0, 1].
  config.baseline_view = ""  # View of a second run under the same budget; ""
  # for none.
  config.baseline_learning_rate = 0.0  # Of the second run; 0: all the same.
  config.baseline_encoder_learning_rate = 0.0  # Of its encoder; 0: the former.
  config.baseline_view_scale = 0.0  # Of the second run, as view_scale.
  config.decoder = "mlp"  # linear, mlp or conv.
  config.decoder_width = 512  # Hidden units of the mlp; 0: half its inputs.
  config.decoder_channels = 0  # Of conv's first convolution; 0: num_steps / 2,
  # as published for whole trains, whatever part of them is decoded.
  config.eval_every = 500  # Steps between evaluations on validation, >= 1.
  config.checkpoint_seconds = 30.0  # Seconds between checkpoints besides those
  # of evaluations, >= 0; 0: none.
  config.non_finite = "stop"  # What a step does whose loss or state is not
  # finite: stop the run, or skip, which counts it and changes nothing.
  config.judge_epochs = 40  # Passes of the judge over clean images, >= 1.
  config.eval_samples = 4  # Samples of y per image on the test set, >= 1.

  config.data = ConfigDict()
  config.data.source = "mnist_5k"  # Images: mnist_5k, mnist_5k_official, mnist;
  # recordings: mnist_dvs, mnist_dvs_sim, nmnist, dvs_gesture, shd; named in
  # every output.
  config.data.target = "image"  # Of images: image or label; of recordings:
  # label, and of digits also prototype (one picture per class) or random (a
  # picture of the class).
  config.data.data_dir = ""  # Folder of the files, where a source has some.
  config.data.download = False  # Fetch what is missing (mnist, nmnist,
  # dvs_gesture, shd).
  config.data.split_seed = 0  # Fixes the split, not the training.
  config.data.coding = "latency"  # Of images: latency (time code) or rate.
  config.data.max_shift = 1  # Random shifts of training images and recordings,
  # pixels, >= 0; 0 for shd.
  config.data.max_rotation = 0.0  # Random rotations of them, degrees, [0, 180].
  config.data.max_zoom = 0.0  # Random zooms of them, share of the size, in
  # [0, 0.99].
  config.data.dt_ms = 10.0  # Of recordings: milliseconds per step, > 0.
  config.data.scale = 4  # Of mnist_dvs: 4, 8 or 16.
  config.data.polarity = "both"  # Of mnist_dvs: both or merged.
  config.data.digits = tuple(range(10))  # Of mnist_dvs: which are read.
  config.data.bounds = (801, 901)  # Of mnist_dvs: first numbers of validation
  # and test recordings.
  config.data.crop = (48, 48, 26, 26)  # Of mnist_dvs: leftmost column,
  # uppermost row, width, height.
  config.data.tfds_dir = ""  # Of mnist_dvs: read raw events that TFDS keeps
  # there, prepared from data_dir if they aren't; "": read the originals.
  config.data.simulated = (3600, 400, 1000)  # Of mnist_dvs_sim: recordings per
  # split, at most these.
  config.data.simulator = ConfigDict(Settings()._asdict())  # Of
  # mnist_dvs_sim: sensor and display, see simulator_settings.
  config.data.simulator_seed = 0  # Of mnist_dvs_sim: other recordings.
  config.data.device_bytes = 2**31  # Training rows that take no more are kept
  # on the device, >= 0; others are streamed to it.

  config.encoder = ConfigDict()
  config.encoder.hidden = (600,)  # Units per hidden layer (channels where
  # convolutional); () for none.
  config.encoder.kind = "dense"  # dense or convolutional.
  config.encoder.event_driven = False  # Whether the first layer, if dense, adds
  # up weights of the inputs that spike in place of products; for CPUs.
  config.encoder.num_readout = 8  # N_y, >= 1.
  config.encoder.gain = "unit"  # Synaptic gain: unit or published.
  config.encoder.surrogate = "triangular"  # See timedecode.surrogate.
  config.encoder.weight_scale = 1.0  # Width of the initial weights, > 0.
  config.encoder.lateral = False  # Readout feedback across neurons.

  config.optimizer = ConfigDict()
  config.optimizer.name = "adam"  # adam or sgd.
  config.optimizer.learning_rate = 5e-3  # Peak, > 0.
  config.optimizer.warmup_fraction = 0.1  # Share of the steps of a linear
  # warm-up, in [0, 1].
  config.optimizer.final_fraction = 0.05  # Cosine decay ends at this share of
  # the peak, in [0, 1]; 1 keeps it constant.
  config.optimizer.encoder_name = ""  # Another rule for the encoder: adam, sgd,
  # frozen; "" for the same.
  config.optimizer.encoder_learning_rate = 0.0  # 0 for the same.
  config.optimizer.max_norm = 10.0  # Clip the global gradient norm; 0: never.
  return config
