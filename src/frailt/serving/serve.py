"""`frailt serve`: one checkpoint behind OpenAI's completions interface, on this machine unless told otherwise."""

import errno
import ipaddress
import socket
from importlib.util import find_spec

import torch
from transformers import PreTrainedTokenizerFast

from frailt.data.tokenizer import story_token_ids
from frailt.inference.batch import Batch
from frailt.inference.graphs import RECORDED_AFTER
from frailt.inference.step import Step
from frailt.training.checkpoint import load_checkpoint, quiet_transformers
from frailt.training.hardware import choose_device

from .config import ServeConfig


def serve(config: ServeConfig) -> None:
    """Serve until a signal to stop comes.

    Raises:
        ImportError: the extra is not installed.
        ValueError, OSError: the checkpoint, the address or the key cannot be used.
    """
    for name in ("starlette", "uvicorn"):
        if find_spec(name) is None:
            raise ImportError("serve needs starlette and uvicorn: pip install 'frailt[serve]'")
    key = config.key()
    with _listen(config) as listener:
        is_loopback = ipaddress.ip_address(listener.getsockname()[0]).is_loopback
        if key is None and not config.open and not is_loopback:
            raise ValueError(
                f"host must be an address of this machine alone where there is no key, got {config.host}: "
                f"set {config.key_variable}, or let anyone in with --open true"
            )
        step, tokenizer = _load(config)
        from .run import run  # here, for it imports what the extra brings

        run(config, listener, step, tokenizer, key=key, only_local_names=is_loopback and key is None)


def _listen(config: ServeConfig) -> socket.socket:
    """The socket, taken before the model is loaded: whoever asks early waits in line."""
    try:
        family, *_, address = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=1024)
    except socket.gaierror as error:
        raise ValueError(f"host must be an address or a name of this machine, got {config.host!r}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ValueError(
                f"port must be free, got {config.port}, which is in use: choose another, or 0 for any"
            ) from error
        raise ValueError(f"host and port cannot be listened at, got {config.host} {config.port}: {error}") from error


def _load(config: ServeConfig) -> tuple[Step, PreTrainedTokenizerFast]:
    """Model and tokenizer, tried out: what is compiled is compiled here, for one row and for several."""
    device = choose_device(config.device)
    quiet_transformers()
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    model, tokenizer = load_checkpoint(config.checkpoint, device=device, iterations=config.iterations)
    step = Step(model.eval(), compiled=config.compile == "on")
    bos, _ = story_token_ids(tokenizer)
    steps = 3 if step.graphs is None else RECORDED_AFTER + 1
    with torch.inference_mode():
        for rows in (1, 2, 3):
            batch = Batch(step)
            chosen = batch.join([[bos]] * rows, room=steps).argmax(-1)
            for _ in range(steps):
                chosen = batch.advance(chosen).argmax(-1)
    return step, tokenizer
