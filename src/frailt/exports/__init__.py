"""Models for other programs: stock Llama folders, GGUF files, folders that bring their code, vLLM's plugin."""
