"""The detector as one TFLite file: fixed picture size, builtin operators, everything inside."""
