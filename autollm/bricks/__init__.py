"""The bricks: one short function per primitive.

Every primitive has the same shape. It runs its forward kernel on its inputs' values, and returns a
Node whose `back` runs its backward kernel, which *adds* each input's share to that input's bucket,
and then hands every input its bucket:

    def brick(x):
        out = empty(x.v.shape)
        brick_forward(x.v, out)

        def back(g):
            dx = x.bucket()
            brick_backward(x.v, g, dx)      # dx += (d out / d x)^T g
            x.back(dx)

        return Node(out, back)

The kernels check types, shapes and ids, and raise TypeError, ValueError (ShapeError) or IndexError
(IdError) before they touch memory. Sizes: B examples, K letters of context, D numbers in an
embedding, V letters in the alphabet.
"""
