"""The heads: what is computed from maps (the RPN's), and from the features of RoIs (the box head).

Their dtype policy is that of the hidden layers. The last layers are float32 always: offsets in
bfloat16 would be boxes with steps of pixels.
"""
