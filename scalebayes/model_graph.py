"""The graph of a PyMC model as text for Graphviz; the package graphviz is not needed."""

from pymc.model_graph import ModelGraph

_DATA, _DERIVED, _FREE, _SEEN = "cylinder", "box", "ellipse", "doublecircle"


def graph_text(model):
    """Return the graph of a PyMC model in the DOT language.

    Parameters
    ----------
    model : pm.Model
        As `build` returns it. The numbers of its priors (`prior_...`) are left out.

    Returns
    -------
    str
        Nodes are variables with the name of their distribution and dims; free variables are round,
        derived ones boxes, data cylinders, and observed variables have two rims.
    """
    parents = ModelGraph(model).make_compute_graph()
    names = sorted(name for name in parents if not name.startswith("prior_"))
    nodes = [_node(model, name) for name in names]
    edges = [
        f'  "{parent}" -> "{name}";'
        for name in names
        for parent in sorted(parents[name])
        if parent in names
    ]
    return "\n".join(["digraph model {", "  rankdir = TB;", *nodes, *edges, "}", ""])


def _node(model, name):
    variable = model[name]
    dims = model.named_vars_to_dims.get(name)
    lines = [name, *([f"[{', '.join(dims)}]"] if dims else [])]
    shape = _DATA
    if variable in model.deterministics:
        shape = _DERIVED
    elif variable in model.basic_RVs:
        shape = _SEEN if variable in model.observed_RVs else _FREE
        lines.insert(1, f"~ {variable.owner.op._print_name[0]}")
    label = "\\n".join(lines)
    return f'  "{name}" [shape={shape}, label="{label}"];'
