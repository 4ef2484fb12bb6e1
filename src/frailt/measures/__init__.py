"""What can be said of completions without a judge: by counting, by a model, by looking for copies."""
