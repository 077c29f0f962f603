"""The detector as one TFLite file: fixed image size, builtin operators, everything inside."""
