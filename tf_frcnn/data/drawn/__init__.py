"""How one image of the quickstart's data set is drawn; `tf_frcnn.data.drawings` is its entrance.

From the bottom up: `palette` (colours), `figures` (polygons and their rendering), `animals` and
`scenery` (what is drawn with them), `image` (one image and its boxes).
"""
