"""Registers FraiLT with transformers' Auto classes, when anything of `frailt.model` that needs torch is first used."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from . import attention  # noqa: F401 - registers its kernels
from .configuration_frailt import FraiLTConfig
from .modeling_frailt import FraiLTForCausalLM, FraiLTModel

AutoConfig.register(FraiLTConfig.model_type, FraiLTConfig, exist_ok=True)
AutoModel.register(FraiLTConfig, FraiLTModel, exist_ok=True)
AutoModelForCausalLM.register(FraiLTConfig, FraiLTForCausalLM, exist_ok=True)
