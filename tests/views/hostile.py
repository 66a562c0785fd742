"""Names nobody should give a module or an adapter, and models that bear them everywhere a name can stand."""

from __future__ import annotations

from peftviz.core.plan import Action, DeletionPlan
from peftviz.core.rows import Adapter, AdapterState
from peftviz.core.snapshot import Snapshot
from peftviz.core.timeline import Step, Timeline
from tests.core.stand_in import Model, Node, Slot, Tensor
from tests.views.story import LINEAR, adapted, half_deleted, linear, plain

NAMES: dict[str, str] = {
    "script": "<script>document['title']='owned'</script>",
    "event handler": "<img src=x onerror=document['title']='owned'>",
    "svg": "<svg/onload=document['title']='owned'>",
    "end of script": "</script><script>document['title']='owned'</script>",
    "comment": "--><!-- <![CDATA[ ]]> -->",
    "attribute": "\" onmouseover=\"document['title']='owned'\" x='",
    "link": "javascript:document['title']='owned'",
    "css": "x;background:url(https://example.invalid/a.png);} * { display: none } /*",
    "markdown": "](https://example.invalid) ![x](https://example.invalid/a.png) **b** `code` ~~~ # h",
    "fence": "```\n# heading\n- [ ] task",
    "table": "a | b || c \\| d",
    "mention": "@octocat #1 octo/cat#2 GH-3 :tada: https://example.invalid www.example.invalid a@example.invalid",
    "csv formula": '=HYPERLINK("https://example.invalid";"click")',
    "csv command": "+cmd|' /C calc'!A0",
    "csv at": "@SUM(1+1)*cmd",
    "csv minus": "-2+3+cmd",
    "csv quote": 'a","b\r\n=1+1,"',
    "dot": '"]; evil [label="x"]; subgraph { a -> b } //',
    "dot html": "<b>&amp;&lt;<br/></b>\\N\\G\\l&#0;",
    "bidi override": "user\u202etxt.exe\u202c",
    "bidi isolate": "\u2067\u2066a\u2069\u2069",
    "right to left": "\u05d0\u05d1\u05d2 \u0627\u0644\u0639 (1)",
    "zero width": "a\u200bb\u200dc\u2060d\ufeff",
    "blank": "\u3164\u115f\u2800\u00a0",
    "combining": "Z" + "\u0335\u0336\u0337\u0321\u034f" * 200,
    "terminal": "\x1b[2J\x1b]0;owned\x07\x9b31m\x08\x7f",
    "lines": "first\nsecond\r\nthird\u2028fourth\u2029\x0b\x0c\x85",
    "surrogate": "half \ud800 of one \udfff",
    "json": '"}],"rows":0,"x":[{"\\',
    "null": "a\x00b",
    "path": "../../../etc/passwd",
    "windows path": "C:\\Windows\\..\\con",
    "template": "{{7*7}}${7*7}$(id)`id`%s%n{0}",
    "dots": "a..b.c.",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈",
    "number": "007",
    "spaces": "   two   words   ",
    "long": "long" * 25_000,
    "long tag": "<b>" * 4_000,
}
"""What it tries, and the name; none of them is empty."""

HIDDEN = (
    "\x00\x07\x08\x0b\x0c\x1b\x7f\x85\x9b\u200b\u200d\u2028\u2029\u202c\u202e\u2060\u2066\u2067\u2069\ufeff\u3164\ud800"
)
"""Characters of the corpus that no renderer may let through."""


def hostile(name: str) -> tuple[Snapshot, Snapshot, Snapshot]:
    """Plain, adapted, half deleted: a story in which module, adapter, class, device, config and state bear a name."""
    first = plain(2)
    first.label = name
    first.root.children[name] = linear(first, 3, 3)
    first.root.children[f"{name}2"] = Node(first.serial(), f"odd.{name}", hooks=[name], state={name: name})
    first.root.tensors[name] = Slot(Tensor(first.serial(), (1,), device=name, type=f"odd.{name}"))
    second = adapted(first, "default", name)
    _describe(second, name)
    third = half_deleted(second, name)
    third.label = name
    return first.snapshot(), second.snapshot(), third.snapshot()


def _describe(model: Model, name: str) -> None:
    config = {"r": 8, name: name, "target_modules": [name, "q_proj"], "nested": {name: [name]}}
    model.adapters = tuple(Adapter(adapter, f"LORA {name}", config, active=True) for adapter in ("default", name))
    model.adapter_state = AdapterState("PeftModel", f"odd.{name}", ("default", name), True, (("", ("default", name)),))
    model.root.state = {name: name}
    model.label = name


def everything(names: dict[str, str] | None = None) -> tuple[Snapshot, Snapshot]:
    """One plain and one adapted model, with every name of the corpus as a module and as an adapter."""
    chosen = list((names or NAMES).values())
    first = plain(1)
    for number, name in enumerate(chosen):
        first.root.children[name] = Node(first.serial(), LINEAR, children={name: linear(first, number + 2, 3)})
    second = adapted(first, "default", *chosen)
    config = {name: name for name in chosen}
    second.adapters = tuple(Adapter(name, "LORA", config) for name in ("default", *chosen))
    return first.snapshot(), second.snapshot()


def timeline(name: str) -> Timeline:
    """Steps whose labels, arguments, warnings and errors bear a name."""
    first, second, third = hostile(name)
    steps = [
        Step(
            f"get_peft_model({name})", name, first, second, arguments={name: name}, warnings=(f"UserWarning: {name}",)
        ),
        Step(f"delete_adapter({name})", name, second, third, error=f"KeyError: {name}"),
    ]
    return Timeline(first, steps)


def plan(name: str) -> DeletionPlan:
    """A plan that bears a name in each of its texts."""
    return DeletionPlan(
        adapter=name,
        handle=name,
        actions=(Action("remove", name, name), Action("forget", "", name)),
        names=(name, f"{name}2"),
        active_before=(name,),
        next_active=("default",),
        remaining=("default", f"{name}3"),
        tensors=1,
        nbytes=8,
        is_last=False,
        unwrap=True,
        warnings=(name,),
    )
