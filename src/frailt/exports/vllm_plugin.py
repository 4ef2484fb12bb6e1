"""vLLM's general plugin: FraiLT models run in vLLM's Transformers backend, on vLLM's own attention and cache.

vLLM calls `register` in each of its processes before it starts any work. That the Auto classes know the model comes of
importing this package.
"""

ARCHITECTURE = "FraiLTForCausalLM"
BACKEND = "vllm.model_executor.models.transformers:TransformersForCausalLM"
"""As text, so that the class is imported by the process that needs it: importing it may initialise CUDA."""


def register() -> None:
    """Make the architecture known to vLLM."""
    from vllm import ModelRegistry

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, BACKEND)
