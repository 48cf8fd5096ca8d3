"""The runtime of models, told to keep to itself. Whoever needs it takes it from here.

As its maker builds it, it notes each use in the home folder and sends the notes home, unless the environment
forbids it before it is loaded (seen with 1.32, where calling `disable_telemetry_events` comes too late).
"""

from __future__ import annotations

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime as ort
import onnxruntime.capi.onnxruntime_pybind11_state as ort_state

__all__ = ["ort", "ort_state"]
