"""Writing weights as safetensors, for all chapters that ship some."""

from util.files import atomic_path


def save_weights(path, state, metadata=None):
    """Write a state dict {name: tensor, on any device} to `path`, atomically, readable for everybody.

    metadata: {str: str} for the file's header, or None. Raises `OSError` where `path` cannot be written.
    """
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata)
        temporary.chmod(0o644)  # safetensors makes it readable for its owner only
