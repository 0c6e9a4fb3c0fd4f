"""Score distillation: tensors in, gradient or scalar out."""
