"""Why workflows fail: the causes that ComfyUI really produces, core nodes and custom ones.

Node types are class names as graphs carry them, with spaces, brackets, slashes and non-ASCII.
Messages are Python's and ComfyUI's own, and like the real ones they carry prompts and paths of
users: ``{prompt}`` and ``{path}`` are filled with planted words (see ``documents.PLANTED``) so that
a test can prove that none of them ever reaches a metric, a page or a log.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from exporter.simulator.schema import StrictModel


class CauseSpec(StrictModel):
    """One way to fail: what the service's ``cause`` says, and how common it is."""

    node_type: Annotated[str, Field(min_length=1, max_length=10_000)]
    exception_type: Annotated[str, Field(min_length=1, max_length=10_000)]
    message: str = "{prompt}"
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


def _cause(weight: float, node_type: str, exception_type: str, message: str) -> CauseSpec:
    return CauseSpec(
        node_type=node_type, exception_type=exception_type, message=message, weight=weight
    )


CAUSES: tuple[CauseSpec, ...] = (
    _cause(
        30,
        "KSampler",
        "torch.OutOfMemoryError",
        "Allocation on device 0 would exceed allowed memory. (out of memory)\n"
        "Currently allocated     : 22.41 GiB\nRequested               : 3.38 GiB\n"
        "Device limit            : 23.65 GiB\nFree (according to CUDA): 18.62 MiB\n"
        "PyTorch limit (set by user-supplied memory fraction)\n                        : 23.65 GiB",
    ),
    _cause(
        8,
        "KSampler",
        "RuntimeError",
        "Given groups=1, weight of size [320, 4, 3, 3], expected input[2, 16, 128, 128] to have 4 "
        "channels, but got 16 channels instead",
    ),
    _cause(
        14,
        "CheckpointLoaderSimple",
        "FileNotFoundError",
        "Model in folder 'checkpoints' with filename '{path}' not found.",
    ),
    _cause(
        5,
        "CheckpointLoaderSimple",
        "safetensors_rust.SafetensorError",
        "Error while deserializing header: MetadataIncompleteBuffer",
    ),
    _cause(
        9,
        "VAEDecode",
        "torch.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 4.50 GiB. GPU 0 has a total capacity of 23.65 GiB "
        "of which 1.06 GiB is free. Including non-PyTorch memory, this process has 22.58 GiB "
        "memory in use.",
    ),
    _cause(
        7,
        "KSampler (Efficient)",
        "AttributeError",
        "'NoneType' object has no attribute 'shape'",
    ),
    _cause(
        6,
        "easy fullLoader",
        "KeyError",
        "'model.diffusion_model.input_blocks.0.0.weight'",
    ),
    _cause(
        9,
        "LoadImage",
        "FileNotFoundError",
        "[Errno 2] No such file or directory: '{path}'",
    ),
    _cause(
        3,
        "LoadImage",
        "PIL.UnidentifiedImageError",
        "cannot identify image file '{path}'",
    ),
    _cause(
        5,
        "ControlNetApplyAdvanced",
        "RuntimeError",
        "mat1 and mat2 shapes cannot be multiplied (154x2048 and 768x320)",
    ),
    _cause(
        4,
        "VHS_VideoCombine",
        "Exception",
        "An error occurred in the ffmpeg subprocess:\n[libx264 @ 0x55d0c8] height not divisible "
        "by 2 (1024x577)\n{path}: Invalid argument",
    ),
    _cause(
        3,
        "IPAdapterUnifiedLoader",
        "Exception",
        "ClipVision model not found.",
    ),
    _cause(
        3,
        "WanImageToVideo",
        "torch.cuda.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 12.19 GiB (GPU 0; 23.65 GiB total capacity)",
    ),
    _cause(
        2,
        "CLIPTextEncode",
        "RuntimeError",
        "ERROR: clip input is invalid: None\n\nprompt was: {prompt}",
    ),
    _cause(
        2,
        "Power Lora Loader (rgthree)",
        "ValueError",
        "Lora '{path}' has an unknown key layout",
    ),
    _cause(
        2,
        "DownloadAndLoadFlorence2Model",
        "huggingface_hub.errors.LocalEntryNotFoundError",
        "An error happened while trying to locate the file on the Hub and we cannot find the "
        "requested files in the local cache.",
    ),
    _cause(1, "🔧 Image Resize", "ZeroDivisionError", "division by zero"),
    _cause(1, "画像を保存 / Save", "OSError", "[Errno 28] No space left on device: '{path}'"),
    _cause(
        1,
        "Text Multiline [WLSH]",
        "UnicodeEncodeError",
        "'latin-1' codec can't encode characters in position 0-4: ordinal not in range(256)",
    ),
    _cause(1, "SaveImage", "PermissionError", "[Errno 13] Permission denied: '{path}'"),
)
"""The usual mixture; a scenario may bring its own."""
