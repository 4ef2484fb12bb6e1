"""Sending an exported folder to the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from frailt.training.checkpoint import in_short


def check_can_push(repository: str) -> str:
    """The user's token, before anything is written.

    Raises:
        ValueError: the repository's name is none, or there is no token.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ValueError(f"push must be the name of a repository such as me/model, got {repository!r}") from error
    token = get_token()
    if token is None:
        raise ValueError("push needs a token of the hub, and there is none: run hf auth login, or set HF_TOKEN")
    return token


def push(folder: Path, repository: str, token: str) -> str:
    """Upload `folder`, its card as the repository's; made public where it is new, as the hub does.

    Returns:
        Where it is now.

    Raises:
        ValueError: the hub did not take it; the folder stays.
    """
    api = HfApi(token=token)
    try:
        where = api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Exported by frailt")
    except (OSError, ValueError) as error:  # the hub's own errors, and those of the network, are of both kinds
        raise ValueError(f"push to {repository} failed, {folder} is written and stays: {in_short(error)}") from error
    return str(where)
