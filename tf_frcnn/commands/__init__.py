"""The commands, one a file: the options, and a recipe of arguments, configuration and parts.

What needs TensorFlow is imported inside of `main`: help and wrong options need not wait for it.
"""
