"""Images: references, registries, pull, unpack, the index of what is there, removal and disk usage.

`store.ImageStore` is the door; the other modules do one job each. Nothing here knows pods or containers.
"""
