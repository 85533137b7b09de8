"""The model file: safetensors with weights and optimizer state, the architecture as JSON in its metadata.

No pickle: a model file cannot run code. Names of tensors: ``model/<layer>/<weight>`` and ``optimizer/<slot>``.
"""

import json
import os
from pathlib import Path

import numpy as np

from minivid.files import replacing

__all__ = ["ModelFileError", "read_model_file", "write_model_file"]

FORMAT = "minivid-1"


class ModelFileError(ValueError):
    """A model file that cannot be read: missing, cut short, of another program, or not what it says."""


def write_model_file(path: str | os.PathLike, config: dict, tensors: dict[str, np.ndarray]) -> None:
    """Write a model file; the old one stays until the new one is complete.

    Parameters
    ----------
    path : path
        Where to; ends in ``.safetensors`` by convention.
    config : dict
        The architecture, fit for JSON.
    tensors : dict of str to array
        Weights and state.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> write_model_file(path, {"name": "two"}, {"w": np.zeros(2)})
    >>> path.stat().st_size > 0
    True
    """
    from safetensors.numpy import save

    data = save(
        {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()},
        metadata={"format": FORMAT, "config": json.dumps(config)},
    )
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def read_model_file(path: str | os.PathLike) -> tuple[dict, dict[str, np.ndarray]]:
    """Read a model file.

    Parameters
    ----------
    path : path

    Returns
    -------
    config : dict
    tensors : dict of str to array

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is damaged or no minivid model; says why.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> write_model_file(path, {"name": "two"}, {"w": np.zeros(2)})
    >>> read_model_file(path)
    ({'name': 'two'}, {'w': array([0., 0.])})
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}" + (": it is a folder" if path.is_dir() else ""))
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except PermissionError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from error
    except (SafetensorError, OSError, TypeError, AttributeError, KeyError, ValueError, OverflowError) as error:
        raise ModelFileError(f"{path} is no model file, or is damaged: {error}") from error
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "none")
        raise ModelFileError(f"{path} is a safetensors file, but no minivid model (format {found!r}, not {FORMAT!r})")
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} has no readable model description: {error}") from error
    if not isinstance(config, dict):
        raise ModelFileError(f"{path}: the model description is a {type(config).__name__}, not an object")
    return config, tensors
