"""The output of frozen lower layers for every text, kept in a file by the content of the text."""

import hashlib
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_noisy.models.shared_layers import SharedLayer

logger = logging.getLogger(__name__)

_TYPES = "token_type_ids"
_READ = {"input_ids", "attention_mask", _TYPES}
# Relative, for a text that was computed in a batch of another length; products in half precision round more.
_TOLERANCE = {None: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.1}


class KeptOutputs:
    """Hidden states of the texts that a model has seen, without padding, in a temporary file.

    A text is found by its token ids, so that other rows, views or data sets need no care. The file is emptied if the
    weights change.
    """

    def __init__(self, weights: list[nn.Parameter], folder: str | Path | None, max_bytes: int) -> None:
        self._weights, self._max_bytes = weights, max_bytes
        self._file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115  (closed when it is collected)
        self._places: dict[bytes, int] = {}
        self._size, self._state = 0, self._weight_state()
        self._forms: dict[torch.dtype | None, tuple[torch.dtype, int]] = {}  # dtype and width of the hidden states
        self._checked: set[torch.dtype | None] = set()
        self._is_off = False

    def __reduce__(self) -> Any:
        return type(None), ()  # copies of a model keep nothing

    def run(self, shared: list[SharedLayer], inputs: dict[str, Any], run: Callable[..., Tensor]) -> Tensor:
        """The result of `run(**inputs)`; the shared layers are not computed if all texts of the batch are known."""
        lengths = None if self._is_off else _lengths(inputs)
        if lengths is None:
            return run(**inputs)
        if (state := self._weight_state()) != self._state:
            self._state, self._size = state, 0
            self._places.clear()
        ids: Tensor = inputs["input_ids"]
        autocast = _autocast_dtype(ids.device.type)
        keys = _keys(ids, inputs.get(_TYPES), lengths, autocast)
        if not all(key in self._places for key in keys):
            result = run(**inputs)
            hidden = shared[-1].output
            if not isinstance(hidden, Tensor) or hidden.ndim != 3 or hidden.shape[:2] != ids.shape:
                self._is_off = True  # a layer that returns more than hidden states, or shortens the text
            else:
                self._forms[autocast] = hidden.dtype, hidden.shape[2]
                self._keep(hidden.detach().cpu(), keys, lengths)
            return result
        hidden = self._read(keys, lengths, ids.shape[1], *self._forms[autocast]).to(ids.device)
        if autocast in self._checked:
            return self._run_above(shared, hidden, inputs, run)
        return self._compared(shared, hidden, inputs, run, autocast)

    def _run_above(
        self, shared: list[SharedLayer], hidden: Tensor, inputs: dict[str, Any], run: Callable[..., Tensor]
    ) -> Tensor:
        for layer in shared:
            layer.output, layer.is_known = hidden, True
        try:
            return run(**inputs)
        finally:
            for layer in shared:
                layer.is_known = False

    def _compared(
        self,
        shared: list[SharedLayer],
        hidden: Tensor,
        inputs: dict[str, Any],
        run: Callable[..., Tensor],
        autocast: torch.dtype | None,
    ) -> Tensor:
        """The first result from the file, if it is that of the whole network; else nothing is kept any more."""
        devices = [] if hidden.device.type == "cpu" else [hidden.device]
        with torch.no_grad(), torch.random.fork_rng(devices, device_type=hidden.device.type if devices else "cuda"):
            found = self._run_above(shared, hidden, inputs, run)
        result = run(**inputs)
        error = (found.float() - result.detach().float()).abs().max().item()
        self._checked.add(autocast)
        if not error <= _TOLERANCE[autocast] * result.detach().abs().max().item():
            logger.warning("the output of the shared layers depends on the rest of the batch, so it is not kept")
            self._is_off = True
        return result

    def _weight_state(self) -> list[tuple[int, int]]:
        return [(weight.data_ptr(), weight._version) for weight in self._weights]

    def _keep(self, hidden: Float[Tensor, "batch length width"], keys: list[bytes], lengths: list[int]) -> None:
        for row, (key, length) in enumerate(zip(keys, lengths, strict=True)):
            data = hidden[row, :length].contiguous().view(torch.uint8).numpy().tobytes()
            if key in self._places or self._size + len(data) > self._max_bytes:
                continue
            try:
                self._file.seek(self._size)
                written = self._file.write(data)
            except OSError as error:
                logger.warning("no more outputs of the shared layers are kept: %s", error)
                self._max_bytes = 0
                return
            if written == len(data):
                self._places[key] = self._size
                self._size += len(data)

    def _read(
        self, keys: list[bytes], lengths: list[int], longest: int, dtype: torch.dtype, width: int
    ) -> Float[Tensor, "batch length width"]:
        hidden = torch.zeros(len(keys), longest, width, dtype=dtype)
        for row, (key, length) in enumerate(zip(keys, lengths, strict=True)):
            self._file.seek(self._places[key])
            self._file.readinto(hidden[row, :length].view(torch.uint8).numpy().data.cast("B"))
        return hidden


def _lengths(inputs: dict[str, Any]) -> list[int] | None:
    """Number of tokens of each text; None if the inputs are not token ids, padded on the right."""
    given = {name for name, value in inputs.items() if value is not None}
    if "input_ids" not in given or not given <= _READ:
        return None
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    if mask is None:
        return [ids.shape[1]] * len(ids)
    if mask.shape != ids.shape:
        return None
    lengths = mask.sum(1)
    places = torch.arange(ids.shape[1], device=mask.device)
    padded_right = bool((mask == (places < lengths[:, None]).to(mask.dtype)).all())
    return [int(length) for length in lengths] if padded_right else None


def _keys(
    ids: Int[Tensor, "batch length"], types: Tensor | None, lengths: list[int], autocast: torch.dtype | None
) -> list[bytes]:
    parts = [part.cpu().numpy() for part in (ids, types) if part is not None]
    start = str((autocast, len(parts), ids.dtype)).encode()
    keys = []
    for row, length in enumerate(lengths):
        digest = hashlib.blake2b(start, digest_size=16)
        for part in parts:
            digest.update(part[row, :length].tobytes())
        keys.append(digest.digest())
    return keys


def _autocast_dtype(device: str) -> torch.dtype | None:
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
