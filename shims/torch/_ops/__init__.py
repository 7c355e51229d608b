"""The operators, by area. Each file registers its own; importing this package registers all.

`pointwise`  one result element from one element of each input, with torch's type promotion
`reduction`  sums, means, extrema, scans
`shape`      views, joins, copies
`indexing`   `x[...]`, gather, scatter, sort
`linear`     matrix products and attention
`neural`     activations, normalisation, embedding, loss
`convolution` convolution; `pooling`
`creation`   new tensors
`complexes`  complex numbers
`foreach`    one operator over lists of tensors; `optimizers`: fused steps; `amp`: scaled gradients
`random`     random tensors
`resize`     resampling of images
`windows`    overlapping windows: transposed convolution, fold, grid_sample
`order`      running extrema, median; `rare`: compositions that few models use; `ctc`: its loss
`spectral`   Fourier transforms, complex numbers, windows
`solve`      triangular systems
`special`    compositions, unique values, histograms
"""

from . import (
    amp,
    complexes,
    convolution,
    creation,
    ctc,
    foreach,
    indexing,
    linear,
    neural,
    optimizers,
    order,
    pointwise,
    pooling,
    random,
    rare,
    reduction,
    resize,
    shape,
    solve,
    special,
    spectral,
    windows,
)  # noqa: F401
