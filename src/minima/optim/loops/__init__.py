"""Loops around a step: what asks for the loss again and again, and what takes any other optimizer as a part."""
