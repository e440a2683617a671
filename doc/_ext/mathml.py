"""Formulas as MathML, which browsers show without fonts or scripts from elsewhere."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def mathml(node, **options):
    """Translate a formula; a function's name is set apart from an argument."""
    return re.sub(
        r"(&ApplyFunction;</mo>)(?!\s*<mo[^>]*>\()",
        r'\1<mspace width="0.167em"/>',
        tex2mathml(node.astext(), **options),
    )


def visit_math(self, node):
    """Write a formula within a line."""
    self.body.append(mathml(node))
    raise nodes.SkipNode  # the source of the formula is not to follow


def visit_displaymath(self, node):
    """Write a formula on a line of its own."""
    formula = mathml(node, as_block=True)
    self.body.append(f'<div class="formula">{formula}</div>')
    raise nodes.SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
