"""The commands, one a file: the options, and a recipe of arguments, configuration and parts.

What loads TensorFlow, or another library that takes its time, is imported inside of `main`: help
and wrong options need not wait for it.
"""
