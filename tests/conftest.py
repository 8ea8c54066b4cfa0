"""Strict shapes: ranks are never promoted silently in this library."""

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
