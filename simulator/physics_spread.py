"""Other sets of physics around the shipped one, so that what is learned on one set can be judged on another.

A drawn set keeps what a model is (boards, firmware, rated figures) and draws anew how it behaves.
"""

from __future__ import annotations

import zlib

import numpy as np

from simulator.curve_shape import exponent_points
from simulator.physics_file import CURVE_REACH, ModelPhysics, Physics

# Exponents seen in ladders and presets run from 1.0 (an S21 Pro's presets) to about 1.7 (old chips near
# the top of their range). The rest is how far estimates of ours could be off.
EXPONENT_RATED = (1.05, 1.72)
EXPONENT_LOW = (0.97, 1.08)
FLOOR_SHARE = (0.36, 0.58)
OVERHEAD_SHARE = (0.02, 0.05)
RATED_POWER = (0.97, 1.03)
MAX_VARIANT = 10_000


def drawn(model: ModelPhysics, seed: int, variant: int) -> ModelPhysics:
    """A model with its curve, heat, timing, ageing and noise drawn anew.

    Args:
        seed: of the whole set.
        variant: from 1, to have several of one model in one set; 0 is the model as it is.
    """
    if variant == 0:
        return model
    rng = np.random.default_rng([seed & 0xFFFFFFFF, zlib.crc32(model.key.encode()), variant, 0x7068])

    def factor(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    low, rated = float(rng.uniform(*EXPONENT_LOW)), float(rng.uniform(*EXPONENT_RATED))
    floor, watts = float(rng.uniform(*FLOOR_SHARE)), model.rated_power_w * float(rng.uniform(*RATED_POWER))
    shape = exponent_points(min(low, rated), rated, floor, CURVE_REACH)
    spread, thermal, timing, drift = model.spread, model.thermal, model.timing, model.drift
    noisier = factor(0.7, 1.5)
    noise = {
        name: value * noisier for name, value in model.noise.model_dump().items() if name != "temperature_c"
    }
    sensor = model.sensor
    if sensor is not None:
        off = float(np.clip(rng.normal(0.0, 0.015), -0.03, 0.03))
        sensor = sensor.model_copy(update={"bias": sensor.bias + off})
    return model.model_copy(
        update={
            "variant": variant,
            "curve_points": tuple((h * model.rated_hashrate_ths, w * watts) for h, w in shape),
            "floor_ths": floor * model.rated_hashrate_ths,
            "overhead_w": float(rng.uniform(*OVERHEAD_SHARE)) * watts,
            "spread": spread.model_copy(
                update={
                    "hashrate": spread.hashrate * factor(0.7, 1.4),
                    "power": spread.power * factor(0.7, 1.3),
                    "exponent": spread.exponent * factor(0.6, 1.6),
                    "thermal": spread.thermal * factor(0.7, 1.5),
                }
            ),
            "thermal": thermal.model_copy(
                update={
                    "full_fan_rise_c": thermal.full_fan_rise_c * factor(0.9, 1.1),
                    "droop": thermal.droop * factor(0.7, 1.4),
                    "power_per_c": thermal.power_per_c * factor(0.6, 1.4),
                    "time_constant_s": thermal.time_constant_s * factor(0.7, 1.4),
                }
            ),
            "timing": timing.model_copy(
                update={
                    "init_s": timing.init_s * factor(0.8, 1.25),
                    "ramp_s": timing.ramp_s * factor(0.75, 1.3),
                    "adjust_normal_s": timing.adjust_normal_s * factor(0.75, 1.3),
                }
            ),
            "drift": drift.model_copy(
                update={
                    "hashrate_per_day": drift.hashrate_per_day * factor(0.4, 2.5),
                    "power_per_day": drift.power_per_day * factor(0.4, 2.5),
                    "thermal_per_day": drift.thermal_per_day * factor(0.4, 2.0),
                }
            ),
            "shares": model.shares.model_copy(
                update={"rejected": min(1.0, model.shares.rejected * factor(0.5, 2.0))}
            ),
            "noise": model.noise.model_copy(update=noise),
            "sensor": sensor,
        }
    )


def drawn_set(physics: Physics, seed: int) -> Physics:
    """Every model drawn anew once: the physics of a farm that no history of another seed is of."""
    return Physics({key: drawn(model, seed, 1) for key, model in physics.models.items()})
