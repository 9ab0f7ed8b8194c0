"""What is done around an optimizer while a model is trained: clipping, accumulation, averages, the range test."""
