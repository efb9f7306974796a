"""The steps of a run, a class each: pre-training, fine-tuning, distillation, export, int8, benchmark."""
