"""The bricks: one short function per primitive.

Every primitive has the same shape. It runs its forward kernel on its inputs' values, and returns a Node
whose `back` runs its backward kernel, which leaves each input's share in that input's bucket, and then
hands every input its bucket:

    def brick(w, x):
        out = buffers.empty(x.v.shape)
        brick_forward(w.v, x.v, out)

        def back(g):
            (dw, add_w), (dx, add_x) = w.bucket(), x.bucket()
            brick_backward(w.v, x.v, g, dw, add_w, dx, add_x)
            w.back(dw)
            x.back(dx)

        return Node(out, back)

A bucket is an array and a number: 1, *add* to what is there, as it is for a Param, which may be used more
than once; or 0, *write*, since nothing is there yet. Every backward kernel does either.
Where there is one input, its `back` is `pullback(x, brick_backward, ...)`. What backward needs to know of
forward is what stands between: nothing where the brick is linear in x, for a linear map has the same
derivative everywhere; else the input, or the output.

The parameters come first, then what they are applied to. The kernels check types, shapes and ids, and
raise TypeError, ValueError (ShapeError) or IndexError (IdError) before they touch memory. Sizes: B examples,
K letters of context, D numbers in an embedding, V letters in the alphabet.
"""
