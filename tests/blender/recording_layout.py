"""A layout that Blender is not needed for: it notes what is drawn, and refuses what Blender would refuse."""

import bpy

_ICONS = set(bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items.keys())
_FUNCTIONS = bpy.types.UILayout.bl_rna.functions


class RecordingLayout:
    """Takes what `UILayout` takes. `drawn` has (function, what) in order, of this layout and those inside it."""

    def __init__(self, drawn=None):
        object.__setattr__(self, "drawn", [] if drawn is None else drawn)

    def __setattr__(self, name, value):
        assert name in bpy.types.UILayout.bl_rna.properties, name

    def __getattr__(self, name):
        if name not in _FUNCTIONS and name not in ("menu", "progress", "introspect"):
            raise AttributeError(name)
        allowed = set(_FUNCTIONS[name].parameters.keys())

        def draw(*values, **given):
            assert set(given) <= allowed, (name, set(given) - allowed)
            assert given.get("icon", "NONE") in _ICONS, given["icon"]
            return self._draw(name, values, given)

        return draw

    def _draw(self, name, values, given):
        if name in ("row", "column", "box", "grid_flow", "split", "column_flow"):
            return RecordingLayout(self.drawn)
        if name == "operator":
            group, operator = values[0].split(".")
            assert hasattr(getattr(bpy.ops, group), operator)
            getattr(getattr(bpy.ops, group), operator).get_rna_type()  # KeyError if there is none
            self.drawn.append(("operator", values[0]))
            return type("Properties", (), {})()
        if name in ("prop", "prop_search"):
            assert values[1] in values[0].bl_rna.properties, values[1]
            self.drawn.append((name, values[1]))
            return None
        self.drawn.append((name, given.get("text", values[0] if values else "")))
        return None

    @property
    def operators(self):
        """The buttons, without `sketchbridge.`"""
        return [what.removeprefix("sketchbridge.") for kind, what in self.drawn if kind == "operator"]

    @property
    def text(self):
        """All labels and bars, as one text."""
        return " ".join(str(what) for kind, what in self.drawn if kind in ("label", "progress"))


def drawn(panel):
    """What a registered panel or menu class draws now."""
    layout = RecordingLayout()
    panel.draw(type("Self", (), {"layout": layout})(), bpy.context)
    return layout
