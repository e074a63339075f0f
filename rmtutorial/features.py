"""Features of frozen layers: computed once for each example, used in every epoch.

Letters: B examples, K answers of one prompt, T tokens of an example, N tokens of a batch, H hidden size.
"""

import hashlib
import os
import shutil
import tempfile
import zlib
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch

from rmtutorial.backbones import decoder_layers
from rmtutorial.places import check_writable, user_path

MEMORY = 200_000_000  # bytes of features kept in memory; what comes after them goes to a file
SPARE = 2_000_000_000  # bytes of the disk that the file leaves free: what does not fit is computed anew each time


@contextmanager
def start_above(backbone, below):
    """Within this block the backbone runs its trained layers only: `below` (1, N, H) is what the frozen ones gave."""
    with ExitStack() as patches:
        if below is not None:
            frozen = decoder_layers(backbone)[: frozen_layers(backbone)]
            for layer in frozen:
                patches.enter_context(mock.patch.object(layer, "forward", lambda hidden, *args, **kwargs: below))
        yield


def frozen_layers(backbone):
    """How many layers, counted from the bottom, do not learn; 0 when the embeddings do."""
    if any(p.requires_grad for p in backbone.get_input_embeddings().parameters()):
        return 0
    layers = decoder_layers(backbone)
    learns = [any(p.requires_grad for p in layer.parameters()) for layer in layers]
    return learns.index(True) if any(learns) else len(layers)


def frozen_checksum(model):
    """crc32 of all weights that do not learn."""
    return checksum(p for p in model.parameters() if not p.requires_grad)


def checksum(tensors):
    """crc32 of all their bytes."""
    crc = 0
    for tensor in tensors:
        crc = zlib.crc32(tensor.detach().cpu().contiguous().view(torch.uint8).numpy(), crc)
    return crc


def pooled_features(rm, pairs, cache=None):
    """What the reward head would read for every pair, (B, 2, H) float32 on the CPU; the chosen answer first."""
    return rm.pooled_encoded(rm.encode_pairs(pairs), cache=cache)


def cache_of_run(rm, config, cache=None, again=False):
    """The FeatureCache of a training run, the one that is given or a new one; None where it would be of no use.

    What frozen layers give is worth keeping if there are frozen layers and it is asked for again: by another epoch,
    another run, or because the head was fitted first (`again`).
    """
    again = again or cache is not None or config.epochs > 1
    if not (config.cache and again) or config.fsdp or not frozen_layers(rm.backbone):
        return None
    return (cache if cache is not None else FeatureCache()).belongs_to(rm)


class FeatureCache:
    """Keeps, for each example, what the frozen layers make of it.

    That is the states which enter the first layer that learns, (T, H); or, when only the head learns, the pooled
    states, (K, H). The first `memory` bytes are kept in memory, the rest in a temporary file that is gone with the
    cache, as long as the disk has room. An example is known by its tokens and the precision, so another text,
    template or cut is another example; and when the frozen weights, their number or the pooling have changed,
    everything is forgotten.
    """

    def __init__(self, memory=MEMORY, folder=None):
        self.memory = memory
        self.folder = folder and user_path(folder)  # of the file: None for the system's temporary folder
        if folder and not self.folder.is_dir():
            raise FileNotFoundError(f"FeatureCache: {self.folder} is no folder; make it, or leave `folder` out")
        if folder:
            check_writable(self.folder)
        self.forget()

    def forget(self):
        self.signature = None
        self.kept = {}  # key of the example -> tensor, or (place in the file, shape, dtype)
        self.bytes_in_memory = self.bytes_in_file = 0
        self.file = None

    def __len__(self):
        return len(self.kept)

    def belongs_to(self, rm):
        """Forget everything unless it was computed by this model, frozen as it is now. Takes a tenth of a second."""
        signature = (frozen_layers(rm.backbone), frozen_checksum(rm.backbone), rm.pooling, rm.pad_id,
                     self.head_only(rm), rm.backbone.dtype)  # fmt: skip
        if signature != self.signature:
            self.forget()
            self.signature = signature
        return self

    @staticmethod
    def head_only(rm):
        return not any(p.requires_grad for p in rm.backbone.parameters())

    def batch(self, rm, examples):
        """The TreeBatch of these examples with the features of the frozen layers; those not yet known are computed."""
        keys = [example_key(answers, rm.device) for answers in examples]
        new = {key: answers for key, answers in zip(keys, examples) if key not in self.kept}
        fresh = self._compute(rm, new) if new else {}
        batch = rm.batch(examples)
        features = [fresh[key] if key in fresh else self._read(key) for key in keys]
        if self.head_only(rm):
            batch.pooled = torch.stack(features).to(rm.device)  # (B, K, H)
        else:
            batch.below = torch.cat(features)[None].to(rm.device)  # (1, N, H)
        return batch

    def _compute(self, rm, examples):
        with torch.no_grad():
            batch = rm.batch(list(examples.values()))
            if self.head_only(rm):
                parts = rm.pooled(batch)  # B of (K, H)
            else:
                parts = states_below(rm, batch).split([mask.shape[-1] for mask in batch.masks])  # B of (T, H)
        fresh = {key: part.cpu().contiguous().clone() for key, part in zip(examples, parts)}
        for key, part in fresh.items():
            self._keep(key, part)
        return fresh

    def _keep(self, key, tensor):
        if self.bytes_in_memory + tensor.nbytes <= self.memory:
            self.kept[key] = tensor
            self.bytes_in_memory += tensor.nbytes
            return
        try:
            if shutil.disk_usage(self.folder or tempfile.gettempdir()).free < tensor.nbytes + SPARE:
                return
            if self.file is None:  # not buffered: what was written is there; open as long as the cache lives
                self.file = tempfile.TemporaryFile(dir=self.folder, buffering=0)  # noqa: SIM115
            place = self.file.seek(0, os.SEEK_END)
            if self.file.write(tensor.flatten().view(torch.uint8).numpy().data) < tensor.nbytes:
                return
        except OSError:  # no temporary folder, a quota, or another program was faster
            return
        self.kept[key] = (place, tensor.shape, tensor.dtype)  # last: known only when it is there
        self.bytes_in_file += tensor.nbytes

    def _read(self, key):
        kept = self.kept[key]
        if torch.is_tensor(kept):
            return kept
        place, shape, dtype = kept
        self.file.seek(place)
        raw = bytearray(self.file.read(shape.numel() * dtype.itemsize))
        return torch.frombuffer(raw, dtype=dtype).reshape(shape)


def states_below(rm, batch):
    """The states (N, H) that enter the first layer that learns; the layers from there on are not computed."""
    first = decoder_layers(rm.backbone)[frozen_layers(rm.backbone)]

    def stop(module, args):
        raise _Reached(args[0])

    hook = first.register_forward_pre_hook(stop)
    try:
        rm.hidden(batch)
    except _Reached as reached:
        return reached.states[0]
    finally:
        hook.remove()


class _Reached(Exception):
    """Ends a forward pass at the first layer that learns."""

    def __init__(self, states):
        self.states = states


def example_key(answers, device):
    """An example is known by its tokens, and by the precision (autocast) of what is kept of it."""
    precision = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type)
    known_by = [(a.ids, a.start) for a in answers], precision
    return hashlib.blake2b(repr(known_by).encode(), digest_size=16).digest()
