"""The second as a film: one HTML file that replays a training with its real numbers.

`record` looks at a model while it learns, `page` makes the file of what it saw. The page itself is the plain
files beside them: page.html, style.css, and the scripts in the order in which they build on each other:
compute.js (the model's arithmetic), draw.js, parts.js, blame.js, player.js.
"""
