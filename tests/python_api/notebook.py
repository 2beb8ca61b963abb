"""The code cells of a notebook, and the notebook executed in a kernel."""

import json
from pathlib import Path


def cells(path: Path) -> list[str]:
    """The source of the code cells, in order."""
    found = json.loads(path.read_text())
    return ["".join(cell["source"]) for cell in found["cells"] if cell["cell_type"] == "code"]


def executed(path: Path) -> str:
    """All that its cells print, executed in the notebook's folder. Raises what a cell raises."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=500, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)
